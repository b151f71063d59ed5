//! `https`: no public authority certifies private addresses, so the replicas' own authority is
//! trusted.
//!
//! The certificates are for 127.0.0.1 and ::1 and expire in a hundred years; nothing else trusts
//! them.

use std::sync::Arc;

use replica_http_adapter::HttpReplicas;
use scaling_tests::replica_server::{Behavior, ReplicaServer};
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi as _;
use shared::settings::{Protocol, StatusApi};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{LOOPBACK, api, poller, unknown_reason};

const AUTHORITY: &str = include_str!("authority/authority.pem");
const STRANGER: &str = include_str!("authority/stranger.pem");

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("authority/replica.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("authority/replica.key"));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The poller's conclusion about a healthy replica with the certificate.
async fn poll_at(poller: &HttpReplicas, address: &str) -> ReplicaAnswer {
    let listen = format!("{address}:0");
    let server = ReplicaServer::listen(&listen, Some(acceptor()), |_| Behavior::healthy(3)).await;
    let api = StatusApi {
        protocol: Protocol::Https,
        // The first handshakes of a debug build are slow.
        time_limit: std::time::Duration::from_secs(5),
        ..api(server.port)
    };
    let address = address.trim_matches(['[', ']']).parse().unwrap();
    poller.ask(&api, address).await
}

fn is_refused(answer: &ReplicaAnswer) -> bool {
    matches!(answer, ReplicaAnswer::Unknown { why }
        if why.starts_with("it cannot be connected to: ") && why.contains("certificate"))
}

#[tokio::test]
async fn replicas_own_authority_is_trusted() {
    let poller = HttpReplicas::new(Some(AUTHORITY)).unwrap();
    for address in ["127.0.0.1", "[::1]"] {
        let answer = poll_at(&poller, address).await;
        assert_eq!(answer, ReplicaAnswer::Healthy { capacity: 3 }, "{address}");
    }
}

#[tokio::test]
async fn unnamed_authority_is_not_trusted() {
    let answer = poll_at(&poller(), "127.0.0.1").await;
    assert!(is_refused(&answer), "{answer:?}");
    let other = HttpReplicas::new(Some(STRANGER)).unwrap();
    let answer = poll_at(&other, "127.0.0.1").await;
    assert!(is_refused(&answer), "{answer:?}");
}

#[tokio::test]
async fn certificate_for_another_address_is_not_trusted() {
    let poller = HttpReplicas::new(Some(AUTHORITY)).unwrap();
    let answer = poll_at(&poller, "127.0.0.2").await;
    assert!(is_refused(&answer), "{answer:?}");
}

#[tokio::test]
async fn http_and_https_are_not_interchangeable() {
    let server = ReplicaServer::one(Behavior::healthy(3)).await;
    let api = StatusApi {
        protocol: Protocol::Https,
        ..api(server.port)
    };
    let answer = poller().ask(&api, LOOPBACK).await;
    assert!(
        matches!(answer, ReplicaAnswer::Unknown { .. }),
        "{answer:?}"
    );
    // A TLS alert is what a server of https sends to a plain request.
    unknown_reason(Behavior::Sends(b"\x15\x03\x03\x00\x02\x02\x32".to_vec())).await;
}

#[test]
fn malformed_authority_is_rejected_at_startup() {
    let broken = "-----BEGIN CERTIFICATE-----\nbm90IGE=\n-----END CERTIFICATE-----\n";
    assert!(HttpReplicas::new(Some(broken)).is_err());
}

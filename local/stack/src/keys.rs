//! The keys that sign users' tokens, in place of a real deployment's login service.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::private_file;

/// How a token is signed: the two accepted algorithms, and two classic attacks for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    /// No signature at all.
    None,
    /// An HMAC whose key is the RSA public key, which is public.
    Hs256WithPublicKey,
}

impl Algorithm {
    /// The `alg` header of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::None => "none",
            Self::Hs256WithPublicKey => "HS256",
        }
    }
}

/// One RSA and one elliptic-curve key.
#[derive(Debug)]
pub struct UserKeys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl UserKeys {
    /// # Errors
    /// When the cryptography library fails.
    pub fn generate() -> Result<Self> {
        Ok(Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).context("generate an RSA key")?,
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .context("generate an EC key")?,
        })
    }

    /// Loads the keys in `folder`, and generates them first when they are missing.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn load_or_generate(folder: &Path) -> Result<Self> {
        if !folder.join(EC_FILE).exists() {
            Self::generate()?.store(folder)?;
        }
        Self::load(folder)
    }

    /// Loads the keys in `folder`.
    ///
    /// # Errors
    /// When a key file is missing or is not a key.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |name| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| format!("read the key {}", path.display()))
        };
        let rejected = |name, error| anyhow!("{}: {error}", folder.join(name).display());
        Ok(Self {
            rsa: RsaKeyPair::from_pkcs8(&read(RSA_FILE)?)
                .map_err(|error| rejected(RSA_FILE, error))?,
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &read(EC_FILE)?)
                .map_err(|error| rejected(EC_FILE, error))?,
        })
    }

    fn store(&self, folder: &Path) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("create {}", folder.display()))?;
        let rsa: Pkcs8V1Der<'_> = self.rsa.as_der().context("encode the RSA key")?;
        private_file::write(&folder.join(RSA_FILE), rsa.as_ref())?;
        // Written last: this file means that both keys exist.
        let ec = self.ec.to_pkcs8v1().context("encode the EC key")?;
        private_file::write(&folder.join(EC_FILE), ec.as_ref())
    }

    /// The id (`kid`) of the key that `algorithm` signs with, as in the key set.
    pub fn key_id(&self, algorithm: Algorithm) -> String {
        let public = match algorithm {
            Algorithm::Es256 => self.ec.public_key().as_ref(),
            _ => self.rsa.public_key().as_ref(),
        };
        let hash = digest::digest(&digest::SHA256, public);
        URL_SAFE_NO_PAD.encode(hash.as_ref().get(..12).unwrap_or_default())
    }

    /// The JSON web key set (RFC 7517) of the public keys.
    pub fn key_set(&self) -> Value {
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        // An uncompressed point: one byte 4, then both coordinates.
        let point = self.ec.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        json!({"keys": [
            {
                "kty": "RSA", "use": "sig", "alg": "RS256",
                "kid": self.key_id(Algorithm::Rs256),
                "n": URL_SAFE_NO_PAD.encode(rsa.n), "e": URL_SAFE_NO_PAD.encode(rsa.e),
            },
            {
                "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256",
                "kid": self.key_id(Algorithm::Es256),
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            },
        ]})
    }

    /// Signs `message`, the first two parts of a token (RFC 7515).
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .context("sign with the RSA key")?;
                Ok(signature)
            }
            Algorithm::Es256 => {
                let signature = self
                    .ec
                    .sign(&random, message)
                    .context("sign with the EC key")?;
                Ok(signature.as_ref().to_vec())
            }
            Algorithm::None => Ok(Vec::new()),
            Algorithm::Hs256WithPublicKey => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.public_pem()?.as_bytes());
                Ok(hmac::sign(&key, message).as_ref().to_vec())
            }
        }
    }

    fn public_pem(&self) -> Result<String> {
        let der: PublicKeyX509Der<'_> = self
            .rsa
            .public_key()
            .as_der()
            .context("encode the RSA public key")?;
        let lines = STANDARD.encode(der.as_ref());
        let lines: Vec<_> = lines
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        Ok(format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        ))
    }
}

const RSA_FILE: &str = "rs256.pk8";
const EC_FILE: &str = "es256.pk8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_load_returns_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = UserKeys::load_or_generate(&keys).unwrap();
        let second = UserKeys::load_or_generate(&keys).unwrap();
        assert_eq!(first.key_set(), second.key_set());
    }
}

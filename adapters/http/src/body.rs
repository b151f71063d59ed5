//! Reading a body of bounded size, and decoding it if the server compressed it.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use thiserror::Error;

/// The longest part of an unknown coding's name that an error shows.
const LONGEST_NAME: usize = 40;

/// Why a body could not be read.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error(
        "the answer has the content coding `{0}`, which was not requested: let the server send it \
         without a coding, or with gzip or deflate"
    )]
    UnknownCoding(String),
    #[error("the answer's content coding is {0}, but its bytes are not: it may have broken off")]
    NotDecodable(&'static str),
}

/// A content coding that servers use although `identity` was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// Reads a body of at most `limit` bytes, both as it is sent and decoded. The length that the sender
/// declares is not trusted.
///
/// Some servers and the caches in front of them compress whatever the request says. Gzip and deflate
/// are decoded, and any other content coding is an error that names it.
///
/// # Errors
/// When the body is longer, breaks off, or cannot be decoded.
pub async fn bounded_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let coding = coding_of(&response)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    match coding {
        // An empty body has no coding, whatever its header says.
        Some(coding) if !body.is_empty() => coding.decode(&body, limit),
        _ => Ok(body),
    }
}

fn coding_of(response: &Response) -> Result<Option<Coding>, BodyError> {
    let values = response.headers().get_all(CONTENT_ENCODING).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        .collect();
    parse_codings(&values.join(","))
}

/// The coding that a header names. Two of them, one inside the other, are an error: nobody sends
/// them but to make the reader work.
fn parse_codings(header: &str) -> Result<Option<Coding>, BodyError> {
    let mut names = header
        .split(',')
        .map(str::trim)
        .filter(|name| !matches!(*name, "" | "identity"));
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some("gzip" | "x-gzip"), None) => Ok(Some(Coding::Gzip)),
        (Some("deflate"), None) => Ok(Some(Coding::Deflate)),
        _ => Err(BodyError::UnknownCoding(printable(header))),
    }
}

/// The start of a text without the characters that could break a log line.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    text.chars().take(LONGEST_NAME).map(shown).collect()
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
        let decoded = match self {
            Self::Gzip => read_all(MultiGzDecoder::new(body), limit),
            // RFC 9110 means zlib's format. Some servers send the bare data instead.
            Self::Deflate if is_zlib(body) => read_all(ZlibDecoder::new(body), limit),
            Self::Deflate => read_all(DeflateDecoder::new(body), limit),
        };
        match decoded {
            Ok(decoded) if decoded.len() > limit => Err(BodyError::TooLarge(limit)),
            Ok(decoded) => Ok(decoded),
            Err(_) => Err(BodyError::NotDecodable(self.name())),
        }
    }
}

/// Reads up to one byte more than `limit`, so that a few bytes that decode to gigabytes take neither
/// memory nor time.
fn read_all(decoder: impl Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoded = Vec::new();
    decoder.take(most).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// Whether the data begins with a header of zlib's format (RFC 1950, section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = br#"{"keys": []}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_that_servers_send_is_decoded() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(TEXT).unwrap();
        let two_members = [gzip(&TEXT[..5]), gzip(&TEXT[5..])].concat();
        for (header, body) in [
            ("gzip", gzip(TEXT)),
            ("x-gzip", gzip(TEXT)),
            ("identity, gzip", gzip(TEXT)),
            ("gzip", two_members),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
        ] {
            let coding = parse_codings(header).unwrap().unwrap();
            assert_eq!(coding.decode(&body, 100).unwrap(), TEXT, "{header}");
        }
        for none in ["", "identity", " , identity"] {
            assert_eq!(parse_codings(none).unwrap(), None);
        }
    }

    #[test]
    fn unknown_coding_is_named() {
        for header in ["br", "zstd", "gzip, gzip", "gzip, br"] {
            let error = parse_codings(header).unwrap_err().to_string();
            assert!(error.contains(&format!("`{header}`")), "{error}");
        }
        let error = parse_codings(&format!("x\n{}", "y".repeat(1000))).unwrap_err();
        assert!(error.to_string().contains("`x?yyy"), "{error}");
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn limit_holds_for_the_decoded_body() {
        let small = Coding::Gzip.decode(&gzip(&[b' '; 1000]), 1000);
        assert_eq!(small.unwrap().len(), 1000);
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(
            Coding::Gzip.decode(&bomb, 1000),
            Err(BodyError::TooLarge(1000))
        ));
    }

    #[test]
    fn bytes_that_are_not_in_the_coding_are_an_error_that_names_it() {
        let cut = gzip(TEXT);
        for body in [TEXT, &cut[..cut.len() - 10], b"\x1f\x8b"] {
            let error = Coding::Gzip.decode(body, 100).unwrap_err().to_string();
            assert!(error.contains("gzip"), "{error}");
        }
        assert!(Coding::Deflate.decode(b"\xff\xff\xff", 100).is_err());
    }
}

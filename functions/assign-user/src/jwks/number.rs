//! Numbers of keys: big-endian bytes in base64.
//!
//! The standard (RFC 7518, section 2) has one form: base64url without padding, and no zero bytes in
//! front. Libraries that write signed integers put a zero byte there, as Firebase's key set had, and
//! others pad, use the other alphabet, break lines, or drop the zeros of coordinates.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NotANumber {
    #[error("it is missing or not a text")]
    Missing,
    #[error("it is not base64url")]
    Encoding,
    #[error("it is zero")]
    Zero,
    #[error("it is too long for the curve")]
    TooLong,
}

/// The number's bytes, without zeros in front.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, NotANumber> {
    let plain: String = text
        .trim_end_matches(|c: char| c == '=' || c.is_ascii_whitespace())
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let bytes = LENIENT.decode(plain).map_err(|_| NotANumber::Encoding)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    if zeros == bytes.len() {
        return Err(NotANumber::Zero);
    }
    Ok(bytes[zeros..].to_vec())
}

/// The number's size; `bytes` has no zeros in front.
pub(super) fn bits(bytes: &[u8]) -> usize {
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    bytes.len() * 8 - usize::try_from(unused).unwrap_or(0)
}

/// With zeros in front, up to `length`; none if it is longer.
pub(super) fn padded(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(bytes.len())?;
    Some([vec![0; zeros], bytes.to_vec()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_number_is_read() {
        for text in ["AQAB", "AAEAAQ", "AAEAAQ==", " AQ\nAB\r\n", "AAAAAAEAAQ"] {
            assert_eq!(decode(text).unwrap(), [1, 0, 1], "{text}");
        }
        assert_eq!(decode("-_8").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("+/8=").unwrap(), [0xfb, 0xff]);
    }

    #[test]
    fn text_that_is_not_a_number_is_rejected() {
        for (text, why) in [
            ("not base64!", NotANumber::Encoding),
            ("A", NotANumber::Encoding),
            ("AQ=AB", NotANumber::Encoding),
            ("AAAA", NotANumber::Zero),
            ("", NotANumber::Zero),
        ] {
            assert_eq!(decode(text), Err(why), "{text}");
        }
    }

    #[test]
    fn size_and_padding_count_from_the_first_bit_that_is_set() {
        assert_eq!(bits(&[1, 0, 1]), 17);
        assert_eq!(bits(&[0x80]), 8);
        assert_eq!(padded(&[7], 3), Some(vec![0, 0, 7]));
        assert_eq!(padded(&[7; 4], 3), None);
    }
}

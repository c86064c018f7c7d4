//! `application/x-www-form-urlencoded`, as queries and forms have it: read and written.

use std::fmt::Write;

/// The parameters of a query or a form, each there once (RFC 6749, section 3.1).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

/// What is wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("a percent sign without two hexadecimal digits, or bytes that are not UTF-8")]
    Encoding,
    #[error("{0:?} is there more than once")]
    Repeated(String),
}

impl Form {
    pub(crate) fn read(text: &str) -> Result<Self, FormError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in text.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated(name));
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// A parameter's value. What is there without one counts as not there (RFC 6749, section 3.1).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Parameters as a query has them.
pub(crate) fn write<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let fields: Vec<String> =
        fields.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    fields.join("&")
}

fn decode(text: &str) -> Result<String, FormError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = digits else { return Err(FormError::Encoding) };
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(decoded).map_err(|_| FormError::Encoding)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        assert_eq!(Form::read("a=1&a=2"), Err(FormError::Repeated("a".to_owned())));
        assert_eq!(Form::read("a=1&%61=2"), Err(FormError::Repeated("a".to_owned())));
        for bad in ["a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "%80=a"] {
            assert_eq!(Form::read(bad), Err(FormError::Encoding), "{bad}");
        }
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let form = Form::read("&a=&b&c=d+e%20f&&g==").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("nothing")), (None, None, None));
        assert_eq!((form.get("c"), form.get("g")), (Some("d e f"), Some("=")));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_it_was(name in "\\PC{1,20}", value in "\\PC{1,40}") {
            let written = write([(name.as_str(), value.as_str())]);
            let read = Form::read(&written).unwrap();
            prop_assert_eq!(read.get(&name), Some(value.as_str()));
            // An independent reader agrees.
            let url = reqwest::Url::parse(&format!("http://a/?{written}")).unwrap();
            prop_assert_eq!(url.query_pairs().into_owned().collect::<Vec<_>>(), vec![(name, value)]);
        }

        #[test]
        fn no_text_is_too_strange_to_be_read_or_refused(text in "\\PC*") {
            Form::read(&text).ok();
        }
    }
}

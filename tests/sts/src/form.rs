//! Query strings and forms: decoded strictly, nothing twice, nothing guessed.

use crate::Refusal;

/// Names and values in the order they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a query string, where `+` is a plus.
    ///
    /// # Errors
    /// For a broken escape, text that is not UTF-8, or a name that is there twice.
    pub(crate) fn query(text: &str) -> Result<Self, Refusal> {
        Self::read(text, false)
    }

    /// Reads a form, where `+` is a blank.
    ///
    /// # Errors
    /// As [`Form::query`].
    pub(crate) fn body(text: &str) -> Result<Self, Refusal> {
        Self::read(text, true)
    }

    fn read(text: &str, plus_is_blank: bool) -> Result<Self, Refusal> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in text.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (name, value) = (decode(name, plus_is_blank)?, decode(value, plus_is_blank)?);
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::invalid(format!("parameter {name} is there twice")));
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// As [`Form::get`].
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn require(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::new(http::StatusCode::BAD_REQUEST, "MissingParameter", format!("{name} is missing"))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn decode(text: &str, plus_is_blank: bool) -> Result<String, Refusal> {
    let broken = || Refusal::invalid(format!("{text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(broken);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).map_err(|_| broken())?
            }
            b'+' if plus_is_blank => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

/// Encodes as the signature's canonical form does: everything but letters, digits and `-_.~`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in ".*") {
            prop_assert_eq!(decode(&encode(&text), false).unwrap(), text);
        }
    }

    #[test]
    fn nothing_comes_twice_and_no_escape_is_broken() {
        assert_eq!(Form::body("a=b+c&d=%2B").unwrap().get("a"), Some("b c"));
        assert_eq!(Form::query("a=b+c").unwrap().get("a"), Some("b+c"));
        for broken in ["a=1&a=2", "a=1&%61=2", "a=%2", "a=%zz", "a=%ff"] {
            assert!(Form::query(broken).is_err(), "{broken}");
        }
    }
}

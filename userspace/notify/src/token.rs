//! Signed tokens: what a link, or a button in a chat, carries; and the address of a page that only shows.
//!
//! A token is `base64url(payload).base64url(HMAC-SHA256)`. The payload says what is decided, how, until when, and, in
//! a link, by whom: whoever holds a link is that person for that one decision. A button says nothing of persons; the
//! chat's own signature does. Its random-looking part is derived from key and event, so that a message that is sent
//! again carries the same token, and using either uses both up.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::matter::Verdict;
use crate::secret::Secret;
use crate::sign::hex;
use portcullis_access::{Decidable, HoldId};

/// What is longer was not made here.
const LONGEST: usize = 1024;
/// Keeps these codes apart from any other use of the key.
const SIGNED: &[u8] = b"portcullis token v1\0";
const FOLLOWED: &[u8] = b"portcullis hold page v1\0";
const DRAWN: &[u8] = b"portcullis token id v1\0";
const NAMED: &[u8] = b"portcullis key id v1\0";

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Cut off, or never one of ours.
    #[error("this link or button is not whole: copy all of it")]
    Malformed,
    /// Another bastion's, or from before the key was replaced.
    #[error(
        "this link or button was signed with another key: bastions behind one address need the same notify.linksKeyFile"
    )]
    OtherKey,
    /// Someone changed it.
    #[error("this link or button was altered: its signature does not verify")]
    Altered,
    /// Its time is over.
    #[error("this link or button expired at {0:.0}: use `portcullis approve` or `portcullis deny`")]
    Expired(Timestamp),
    /// A button's token in a link, or the reverse.
    #[error("this token was made for {0}, not for this")]
    OtherUse(&'static str),
}

/// Signs tokens.
#[derive(Debug, Clone)]
pub(crate) struct TokenKey {
    key: Secret,
    id: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Which key signed it: another key and an altered token are different mistakes.
    #[serde(rename = "k")]
    key: String,
    /// What is decided.
    #[serde(rename = "w")]
    pub(crate) what: Decidable,
    /// How.
    #[serde(rename = "v")]
    pub(crate) verdict: Verdict,
    /// The approver whose word it is; nobody in a button.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(crate) approver: Option<String>,
    /// Unix seconds; that moment is no longer covered.
    #[serde(rename = "e")]
    expires: i64,
    /// Tells one token from all others.
    #[serde(rename = "n")]
    pub(crate) id: String,
}

/// What a token is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    /// The webhook that carries it.
    pub(crate) webhook: &'a str,
    /// The event that it tells.
    pub(crate) seq: u64,
    /// As in [`Token`].
    pub(crate) what: &'a Decidable,
    /// As in [`Token`].
    pub(crate) approver: Option<&'a str>,
    /// As in [`Token`].
    pub(crate) expires: Timestamp,
}

impl TokenKey {
    pub(crate) fn new(key: Secret) -> Self {
        let id = hex(&key.mac(&[NAMED]).finalize().into_bytes()[..4]);
        Self { key, id }
    }

    /// The token of one verdict. The same again for the same arguments.
    pub(crate) fn sign(&self, new: &New<'_>, verdict: Verdict) -> String {
        let what = new.what.to_string();
        // Each part but the first is free of NUL, which ends it: no two lists of parts read the same.
        let parts = [
            &new.seq.to_be_bytes()[..],
            new.webhook.as_bytes(),
            b"\0",
            what.as_bytes(),
            b"\0",
            verdict.as_str().as_bytes(),
            b"\0",
            new.approver.unwrap_or_default().as_bytes(),
        ];
        let drawn = self.key.mac(&[&[DRAWN][..], &parts[..]].concat()).finalize().into_bytes();
        let token = Token {
            key: self.id.clone(),
            what: new.what.clone(),
            verdict,
            approver: new.approver.map(str::to_owned),
            expires: new.expires.as_second(),
            id: URL_SAFE_NO_PAD.encode(&drawn[..16]),
        };
        let payload = serde_json::to_vec(&token).unwrap_or_else(|_| unreachable!("strings and a number"));
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let code = self.key.mac(&[SIGNED, payload.as_bytes()]).finalize().into_bytes();
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(code))
    }

    /// What a link says, when it is one of ours and still good.
    pub(crate) fn link(&self, text: &str, now: Timestamp) -> Result<(Token, String), TokenError> {
        let mut token = self.verify(text, now)?;
        match token.approver.take() {
            Some(approver) => Ok((token, approver)),
            None => Err(TokenError::OtherUse("a button")),
        }
    }

    /// What a button says, when it is one of ours and still good.
    pub(crate) fn button(&self, text: &str, now: Timestamp) -> Result<Token, TokenError> {
        let token = self.verify(text, now)?;
        if token.approver.is_some() { Err(TokenError::OtherUse("a link")) } else { Ok(token) }
    }

    /// The token of the page that shows where a held request stands, until a time. The same again for the same arguments.
    pub(crate) fn page(&self, hold: &HoldId, until: Timestamp) -> String {
        let shown = format!("{hold}.{}", until.as_second());
        let code = self.key.mac(&[FOLLOWED, shown.as_bytes()]).finalize().into_bytes();
        format!("{shown}.{}", URL_SAFE_NO_PAD.encode(code))
    }

    /// The held request of such a page, when it is one of ours and still good.
    pub(crate) fn held(&self, text: &str, now: Timestamp) -> Option<HoldId> {
        let (shown, code) = text.rsplit_once('.').filter(|_| text.len() <= LONGEST)?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        self.key.mac(&[FOLLOWED, shown.as_bytes()]).verify_slice(&code).ok()?;
        let (hold, until) = shown.split_once('.')?;
        (now.as_second() < until.parse().ok()?).then(|| hold.parse().ok()).flatten()
    }

    fn verify(&self, text: &str, now: Timestamp) -> Result<Token, TokenError> {
        let (payload, code) = text.split_once('.').ok_or(TokenError::Malformed)?;
        if text.len() > LONGEST {
            return Err(TokenError::Malformed);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
        let code: [u8; 32] = decode(code)?.try_into().map_err(|_| TokenError::Malformed)?;
        let altered = match self.key.mac(&[SIGNED, payload.as_bytes()]).verify_slice(&code) {
            Ok(()) => None,
            Err(_) => Some(TokenError::Altered),
        };
        let read = serde_json::from_slice::<Token>(&decode(payload)?);
        match (altered, read) {
            (Some(_), Ok(token)) if token.key != self.id => Err(TokenError::OtherKey),
            (Some(altered), _) => Err(altered),
            (None, Err(_)) => Err(TokenError::Malformed),
            (None, Ok(token)) => {
                let expires = token.expires_at();
                if now < expires { Ok(token) } else { Err(TokenError::Expired(expires)) }
            }
        }
    }
}

impl Token {
    /// When it is good no longer.
    pub(crate) fn expires_at(&self) -> Timestamp {
        // Signed by us, so in range; were it not, it would be long expired.
        Timestamp::from_second(self.expires).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(Secret::new(vec![byte; 32]))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn what() -> Decidable {
        "r-7f3a9c".parse().unwrap()
    }

    fn link(key: &TokenKey, seq: u64, approver: Option<&str>) -> String {
        key.sign(&New { webhook: "dm", seq, what: &what(), approver, expires: at(1000) }, Verdict::Approve)
    }

    #[test]
    fn a_link_is_read_back() {
        let (token, approver) = key(1).link(&link(&key(1), 7, Some("bob")), at(999)).unwrap();
        assert_eq!((token.what.clone(), token.verdict, approver.as_str()), (what(), Verdict::Approve, "bob"));
        assert_eq!(token.expires_at(), at(1000));
    }

    #[test]
    fn the_same_message_carries_the_same_token_and_others_do_not() {
        let id = |text: &str| key(1).verify(text, at(0)).unwrap().id;
        let first = link(&key(1), 7, Some("bob"));
        assert_eq!(first, link(&key(1), 7, Some("bob")));
        assert_ne!(id(&first), id(&link(&key(1), 8, Some("bob"))));
        assert_ne!(id(&first), id(&link(&key(1), 7, Some("eve"))));
        let new = New { webhook: "dm", seq: 7, what: &what(), approver: Some("bob"), expires: at(1000) };
        assert_ne!(id(&first), id(&key(1).sign(&new, Verdict::Deny)));
        assert_ne!(id(&first), id(&key(1).sign(&New { webhook: "dm2", ..new }, Verdict::Approve)));
    }

    #[test]
    fn each_mistake_has_its_own_reason() {
        let good = link(&key(1), 7, Some("bob"));
        let read = |text: &str| key(1).link(text, at(0)).unwrap_err();
        assert_eq!(key(1).link(&good, at(1000)).unwrap_err(), TokenError::Expired(at(1000)));
        assert_eq!(key(2).link(&good, at(0)).unwrap_err(), TokenError::OtherKey);
        assert_eq!(read(&link(&key(1), 7, None)), TokenError::OtherUse("a button"));
        assert_eq!(key(1).button(&good, at(0)).unwrap_err(), TokenError::OtherUse("a link"));
        for cut in [0, 1, 40, good.find('.').unwrap(), good.len() - 1, good.len() - 2] {
            assert_eq!(read(&good[..cut]), TokenError::Malformed, "{cut}");
        }
        assert_eq!(read(&format!("{good}A")), TokenError::Malformed);
        assert_eq!(read(&format!("{good}.")), TokenError::Malformed);
        assert_eq!(read(&format!("{}.{good}", "A".repeat(2000))), TokenError::Malformed);

        let (payload, code) = good.split_once('.').unwrap();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        for (from, to) in [("bob", "eve"), ("approve", "deny"), ("r-7f3a9c", "r-7f3a9d"), ("1000", "9999")] {
            let altered = payload.replace(from, to);
            assert_ne!(altered, payload);
            let altered = format!("{}.{code}", URL_SAFE_NO_PAD.encode(altered));
            assert_eq!(read(&altered), TokenError::Altered, "{from}");
        }
    }

    #[test]
    fn a_page_is_of_one_hold_until_its_time_is_over() {
        let hold: HoldId = "h-7f3a9c".parse().unwrap();
        let good = key(1).page(&hold, at(1000));
        assert_eq!(good, key(1).page(&hold, at(1000)));
        assert_eq!(key(1).held(&good, at(999)), Some(hold));
        assert_eq!(key(1).held(&good, at(1000)), None, "its time is over");
        assert_eq!(key(2).held(&good, at(0)), None, "another key");
        for (from, to) in [("7f3a9c", "7f3a9d"), ("1000", "9999")] {
            assert_eq!(key(1).held(&good.replace(from, to), at(0)), None, "{from}");
        }
        for at_byte in 0..good.len() {
            assert_eq!(key(1).held(&good[..at_byte], at(0)), None, "{at_byte}");
        }
        let decides = link(&key(1), 7, Some("bob"));
        assert_eq!(key(1).held(&decides, at(0)), None, "which is for something else");
        assert!(key(1).link(&good, at(0)).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_always_noticed(at_byte in 0usize..200, with in "[A-Za-z0-9_.-]") {
            let good = link(&key(1), 7, Some("bob"));
            let mut bytes = good.clone().into_bytes();
            let place = at_byte % bytes.len();
            bytes[place] = with.as_bytes()[0];
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(key(1).link(&changed, at(0)).is_ok(), changed == good);
        }

        #[test]
        fn nothing_else_is_a_token(text in "\\PC*") {
            prop_assert!(key(1).verify(&text, at(0)).is_err());
            prop_assert!(key(1).held(&text, at(0)).is_none());
        }
    }
}

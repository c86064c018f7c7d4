//! Programs that decide for people: a body that names the approver, and a signature that vouches for it.
//!
//! What a body says of who decides counts for nothing by itself. An approver with a secret of their own is spoken for
//! by that secret alone; all others by the one of `notify.inbound`.

use http::{HeaderName, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis_identity::{Method, Subject};
use serde::Deserialize;
use serde_json::json;

use super::reply::{self, Answer};
use super::{Desk, body, only};
use crate::matter::{Verdict, Word};
use crate::sign::{SIGNATURE_HEADER, SignatureError, hex, verify};
use portcullis_access::Decidable;

const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);
const LONGEST_BODY: usize = 16 * 1024;

/// What a program says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decision {
    what: Decidable,
    verdict: Verdict,
    approver: String,
    #[serde(default)]
    comment: String,
}

/// Whom a signature vouches for, and what makes it unlike any other.
struct Vouched {
    by: Subject,
    id: String,
    until: Timestamp,
}

impl Desk {
    pub(super) async fn program(&self, request: Request<Incoming>) -> Answer {
        let (head, sent) = request.into_parts();
        let signature = only(&head, &SIGNATURE).map(str::to_owned);
        let body = match body(Request::from_parts(head, sent), LONGEST_BODY).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let Some(signature) = signature else {
            return refused(
                StatusCode::UNAUTHORIZED,
                &SignatureError::Missing("X-Portcullis-Signature").to_string(),
            );
        };
        // Read before it is verified, because it says by which secret; believed after.
        let decision: Decision = match serde_json::from_slice(&body) {
            Ok(decision) => decision,
            Err(error) => {
                return refused(StatusCode::BAD_REQUEST, &format!("the body is no decision: {error}"));
            }
        };
        let vouched = match self.vouched(&decision.approver, &signature, &body) {
            Ok(vouched) => vouched,
            Err(error) => {
                tracing::warn!(%error, "a decision by a program was refused");
                return refused(StatusCode::UNAUTHORIZED, &error.to_string());
            }
        };
        let word = Word {
            by: &vouched.by,
            what: &decision.what,
            verdict: decision.verdict,
            comment: &decision.comment,
            token_id: &vouched.id,
            expires: vouched.until,
        };
        match self.decide(word, "webhook").await {
            Ok(became) => reply::json(StatusCode::OK, &json!({"result": became})),
            Err(why) => refused(StatusCode::CONFLICT, &why),
        }
    }

    /// An approver who is not listed and a wrong signature read the same: who is listed is nobody's business.
    fn vouched(&self, approver: &str, signature: &str, body: &[u8]) -> Result<Vouched, SignatureError> {
        let known = self.notify.approvers.named(approver);
        let secret = known.and_then(|known| known.secret.as_ref().or(self.notify.inbound.as_ref()));
        let (Some(known), Some(secret)) = (known, secret) else { return Err(SignatureError::Wrong) };
        let (code, until) = verify(secret, signature, self.clock.now(), body)?;
        // Of the code itself, which has one spelling; the header has several.
        let id = format!("webhook:{}", hex(&code));
        Ok(Vouched { by: known.subject(Method::Webhook), id, until })
    }
}

fn refused(status: StatusCode, why: &str) -> Answer {
    reply::json(status, &json!({"refused": why}))
}

//! The server's answer: withheld if it comes in no form that can be masked or filtered; otherwise masked as a whole, or given
//! what it goes through on its way.

use std::sync::Arc;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use portcullis_kube::{Status, query_values};
use portcullis_mask::BodyMasker;

use super::{Exchange, root_cause, text_of, withhold_size};
use crate::body::{RequestBody, Through};
use crate::classify::Shape;
use crate::mcp::answer::{Way, way};
use crate::mcp::read::note_session;
use crate::refusal::Refusal;
use crate::upstream::{SendError, Up};
use crate::whole::{self, Answer, Unread};

/// The longest answer that is looked through for what was restored in the request.
const WORDS: usize = 256 * 1024;

impl Exchange {
    /// The answer. What can be masked only as a whole has been then; what cannot be is asked for again, in JSON, which can be
    /// masked in passing.
    pub(super) async fn ask(
        &mut self,
        up: &Up,
        request: Request<RequestBody>,
    ) -> Result<Response<Answer>, Refusal> {
        let mut response = self.checked(up.send(request).await)?;
        if !matches!(self.shape, Shape::Kube) {
            let through = self.of_mcp_server(&mut response)?;
            return Ok(response.map(|body| Answer::Streaming(body, through)));
        }
        let masker = match self.masker(&mut response)? {
            masker if self.restored.is_some() && !response.status().is_success() => {
                return self.words(response, masker).await;
            }
            Some(masker) if masker.is_whole() => masker,
            masker => return Ok(response.map(|body| Answer::Streaming(body, masker.map(Through::Mask)))),
        };
        let (head, body) = response.into_parts();
        let uid = self.person.connection.attestation.uid;
        let refusal = match whole::read(body, masker, &self.proxy.limits, uid).await {
            Ok(masked) => return Ok(Response::from_parts(head, Answer::Whole(masked))),
            Err(Unread::Upstream(error)) => {
                return Err(Refusal::Upstream { target: self.target.clone(), cause: root_cause(&error) });
            }
            Err(Unread::Format(refusal)) => refusal,
        };
        let again = self.again.take().ok_or(refusal)?;
        let mut response = self.checked(up.send(again).await)?;
        let masker = self.masker(&mut response)?;
        Ok(response.map(|body| Answer::Streaming(body, masker.map(Through::Mask))))
    }

    /// What the answer of an MCP server goes through. A session that it begins or ended is noted.
    fn of_mcp_server(&self, response: &mut Response<Incoming>) -> Result<Option<Through>, Refusal> {
        let call = match &self.shape {
            Shape::Call(call) => Some(&**call),
            Shape::Kube | Shape::Web => None,
        };
        if let Some(call) = call.filter(|_| response.status().is_success()) {
            note_session(&self.proxy, &self.person, call, response.headers());
        }
        // What is forwarded is between a client and its server.
        if self.person.connection.forwarded.is_none() {
            // Its challenge would send clients for a token that stays here.
            if response.status() == StatusCode::UNAUTHORIZED {
                let cause = "it does not accept the gate's own credential (401)".to_owned();
                return Err(Refusal::Upstream { target: self.target.clone(), cause });
            }
            response.headers_mut().remove(header::SET_COOKIE);
        }
        if !has_body(response) {
            return Ok(None);
        }
        let (masked, status) = (self.masks(), response.status());
        let way = way(&self.proxy, &self.person, call, masked, status, response.headers())?;
        let through = match way {
            Way::Messages(messages) => Through::Messages(messages),
            Way::Text(masker) => Through::Mask(masker),
            Way::AsItIs => return Ok(None),
        };
        withhold_size(response.headers_mut());
        Ok(Some(through))
    }

    /// An answer that may quote what was restored in the request: read whole, and withheld if it does.
    async fn words(
        &self,
        response: Response<Incoming>,
        masker: Option<BodyMasker>,
    ) -> Result<Response<Answer>, Refusal> {
        let (head, body) = response.into_parts();
        let quoted = |said: &[u8]| self.restored.as_ref().is_none_or(|values| values.are_quoted_in(said));
        let withheld = |reason, fields| Refusal::Quoted { code: head.status, reason, fields };
        let said = Limited::new(body, WORDS).collect().await;
        let said = said.map_err(|_| withheld(String::new(), Vec::new()))?.to_bytes();
        if head.headers.contains_key(header::CONTENT_ENCODING) || quoted(&said) {
            let status: Option<Status> = serde_json::from_slice(&said).ok();
            let told = |word: &String| !word.is_empty() && !quoted(word.as_bytes());
            let reason = status.as_ref().map(|status| status.reason.clone()).filter(told).unwrap_or_default();
            let causes =
                status.and_then(|status| status.details).map_or(Vec::new(), |details| details.causes);
            return Err(withheld(reason, causes.into_iter().map(|cause| cause.field).filter(told).collect()));
        }
        let Some(mut masker) = masker else { return Ok(Response::from_parts(head, Answer::Whole(said))) };
        let mut shown = Vec::with_capacity(said.len());
        masker.push(&said, &mut shown)?;
        masker.finish(&mut shown)?;
        Ok(Response::from_parts(head, Answer::Whole(shown.into())))
    }

    fn checked(
        &self,
        answered: Result<Response<Incoming>, SendError>,
    ) -> Result<Response<Incoming>, Refusal> {
        match answered {
            Ok(response) => self.check(response),
            Err(error) if is_the_clients(&*error) => Err(Refusal::BodyUnreadable(root_cause(&*error))),
            Err(error) => Err(Refusal::Upstream { target: self.target.clone(), cause: root_cause(&*error) }),
        }
    }

    /// An answer that would carry masked or filtered objects in a form that is not read here is withheld.
    fn check(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
        if self.is_filtered(response.status()) && has_body(&response) {
            readable_by_filter(response.headers())?;
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !self.is_masked() || switched || !has_body(&response) {
            return Ok(response);
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type =
            content_type.map_or("no content type", |value| value.to_str().unwrap_or("not ASCII"));
        let reads = if self.is_log() { BodyMasker::reads_log } else { BodyMasker::reads };
        if !reads(content_type) {
            return Err(Refusal::UnmaskableType { content_type: content_type.to_owned() });
        }
        Ok(response)
    }

    fn masker(&self, response: &mut Response<Incoming>) -> Result<Option<BodyMasker>, Refusal> {
        if !has_body(response) {
            return Ok(None);
        }
        let header = |name| text_of(response.headers().get(name)).unwrap_or_default();
        let (content_type, coding) = (header(header::CONTENT_TYPE), header(header::CONTENT_ENCODING));
        let key = &self.proxy.mask_key;
        let masker = match &self.rules {
            Some(rules) => BodyMasker::new(&content_type, &coding, Arc::clone(rules), key)?,
            None if self.is_log() => {
                let rules = self.proxy.profile.borrow().for_unknown();
                let cut_off = !query_values(&self.path, "limitBytes").is_empty();
                BodyMasker::for_log(&content_type, &coding, rules, key, cut_off)?
            }
            None => return Ok(None),
        };
        // Masking changes the length, and a digest or range of the original would give the original away.
        withhold_size(response.headers_mut());
        Ok(Some(masker))
    }
}

fn has_body(response: &Response<Incoming>) -> bool {
    !http_body::Body::is_end_stream(response.body())
}

fn readable_by_filter(headers: &http::HeaderMap) -> Result<(), Refusal> {
    let of = |name| text_of(headers.get(name)).unwrap_or_default();
    let (content_type, coding) = (of(header::CONTENT_TYPE), of(header::CONTENT_ENCODING));
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::Unfilterable(format!("it came as {content_type:?}")));
    }
    match coding.as_str() {
        "" | "identity" => Ok(()),
        coding => Err(Refusal::Unfilterable(format!("it came in content coding {coding:?}"))),
    }
}

/// Whether forwarding failed for the body that the client sends, and not for the server.
fn is_the_clients(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_user)
}

//! What the client gets of an answer: its head with the gate's warnings, and its body on its way through ([`crate::body`]), or
//! after a 101 a stream ([`crate::upgrade`]).

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use jiff::SignedDuration;
use portcullis_kube::query_values;
use portcullis_mask::{Covers, ListFilter};
use portcullis_record::{Event, StreamKind};

use super::{Exchange, root_cause, text_of, withhold_size};
use crate::body::{BodyError, Ending, ProxiedBody, ResponseBody, RunningAccess};
use crate::classify::Shape;
use crate::headers;
use crate::mcp::wait::is_events;
use crate::record::RequestRecord;
use crate::refusal::Refusal;
use crate::upgrade::{self, Masking, Served, Stream};
use crate::whole::Answer;

/// In the last five minutes of a grant, answers carry a warning that kubectl prints.
const WARN_BEFORE: SignedDuration = SignedDuration::from_mins(5);

impl Exchange {
    pub(super) fn deliver(
        self,
        mut response: Response<Answer>,
        mut record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let status = response.status();
        let content_type = text_of(response.headers().get(header::CONTENT_TYPE));
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        let masked = self.masks() && (switched || !matches!(self.shape, Shape::Kube));
        record.begun(status.as_u16(), content_type.clone(), masked || self.is_masked());
        if switched {
            record.tell_begun()?;
            return self.switch(response, record, client);
        }
        headers::strip_response(response.headers_mut());
        self.warn(response.headers_mut());

        let filter = self.filter(&mut response);
        let events = matches!(self.shape, Shape::Call(_))
            && content_type.as_deref().is_some_and(|of| is_events(of.as_bytes()));
        let long_running = events || self.info.is_long_running(&self.path);
        let ending = if long_running { self.ending(&response) } else { Ending::Silent };
        if long_running && let Some(kind) = self.stream_kind() {
            record.tell_begun()?;
            record.event(&Event::StreamOpened {
                request: record.number(),
                kind,
                protocol: text_of(response.headers().get(header::CONTENT_TYPE)).unwrap_or_default(),
                command: Vec::new(),
                container: query_values(&self.path, "container").into_iter().next(),
                tty: false,
            })?;
        }
        let (head, body) = response.into_parts();
        let (body, through) = match body {
            Answer::Streaming(body, through) => (body, through),
            Answer::Whole(masked) => {
                record.sent(&masked, true)?;
                return Ok(Response::from_parts(head, ResponseBody::whole(masked)));
            }
        };
        let bodiless = http_body::Body::is_end_stream(&body);
        let access = RunningAccess::new(self.lease, ending, self.person.connection.hang_up.clone());
        let mut body = ProxiedBody::new(body, filter, through, record, access);
        if bodiless {
            body.finish_empty()?;
            return Ok(Response::from_parts(head, ResponseBody::Proxied(Box::new(body))));
        }
        match body.begin() {
            Ok(body) => Ok(Response::from_parts(head, body)),
            Err(BodyError::Mask(error)) => Err(error.into()),
            Err(BodyError::Answer(error)) => Err(error.into()),
            Err(BodyError::Record(error)) => Err(error.into()),
            Err(error) => Err(Refusal::Upstream { target: self.target, cause: root_cause(&error) }),
        }
    }

    /// What kind of stream an endless answer is.
    fn stream_kind(&self) -> Option<StreamKind> {
        match (self.info.verb.as_str(), self.info.subresource.as_str()) {
            ("watch", _) => Some(StreamKind::Watch),
            (_, "log") => Some(StreamKind::Log),
            _ => None,
        }
    }

    fn filter(&self, response: &mut Response<Answer>) -> Option<ListFilter> {
        let filter = self.allowed.filter.clone().filter(|_| self.is_filtered(response.status()))?;
        // They would tell how much there is that is left out.
        withhold_size(response.headers_mut());
        let covers: Covers = Box::new(move |namespace, name| filter.covers(namespace, name));
        Some(if self.info.verb == "watch" { ListFilter::watch(covers) } else { ListFilter::list(covers) })
    }

    /// How the end of access can be told inside this answer.
    fn ending(&self, response: &Response<Answer>) -> Ending {
        let headers = response.headers();
        let content_type = text_of(headers.get(header::CONTENT_TYPE)).unwrap_or_default();
        if let Shape::Call(call) = &self.shape {
            let events = is_events(content_type.as_bytes());
            return if events { Ending::Message(call.id().cloned()) } else { Ending::Silent };
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            Ending::Silent
        } else if self.info.verb.starts_with("watch") && content_type.starts_with("application/json") {
            Ending::WatchEvent
        } else if self.info.verb.starts_with("watch") && self.rules.is_some() && is_protobuf(&content_type) {
            Ending::WatchFrame
        } else if self.info.subresource == "log" && content_type.starts_with("text/plain") {
            Ending::LogLine
        } else {
            Ending::Silent
        }
    }

    /// What kubectl prints beside the answer (RFC 7234 §5.5, code 299).
    fn warn(&self, headers: &mut http::HeaderMap) {
        let mut warn = |text: String| {
            if let Ok(value) = HeaderValue::from_str(&format!("299 portcullis \"{text}\"")) {
                headers.append(header::WARNING, value);
            }
        };
        if let Some(hold) = &self.hold {
            let by: Vec<String> = hold.approvals.iter().map(|word| word.by.to_string()).collect();
            let by = by.join(", ").replace(['"', '\\'], "");
            warn(format!("held as {} until {by} agreed", hold.id));
        }
        if let Some(filter) = &self.allowed.filter {
            warn(format!("role {} shows only objects {filter}; others are left out", self.allowed.role));
        }
        let (Some(grant), Some(expires)) = (&self.allowed.grant, self.allowed.expires) else { return };
        let left = expires.duration_since(self.now);
        if left <= WARN_BEFORE {
            let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
            warn(format!("grant {grant} (role {}) ends in {minutes}m{seconds:02}s", self.allowed.role));
        }
    }

    /// The server agreed to an upgrade: hand both ends to the tunnel.
    fn switch(
        self,
        mut response: Response<Answer>,
        record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Some(client) = client else {
            return Err(Refusal::Upstream {
                target: self.target,
                cause: "it switched protocols without being asked".to_owned(),
            });
        };
        let masking = self.masks().then(|| Masking {
            detectors: self.proxy.profile.borrow().detectors(),
            key: self.proxy.mask_key.clone(),
            rules: self.rules.clone(),
        });
        let served = Served::of(&self.person, &self.info);
        let stream = Stream::new(&self.info, &self.path, response.headers(), masking, served)
            .map_err(|error| Refusal::Upgrade { protocol: error.to_string() })?;
        record.event(&stream.opened(record.number()))?;
        let server = hyper::upgrade::on(&mut response);
        let Self { person, lease, .. } = self;
        tokio::spawn(async move {
            upgrade::tunnel(client, server, stream, record, lease).await;
            drop(person);
        });
        Ok(response.map(|_| ResponseBody::whole(Bytes::new())))
    }
}

fn is_protobuf(content_type: &str) -> bool {
    content_type.starts_with("application/vnd.kubernetes.protobuf")
}

//! Answers in XML, as SDKs read them, or in JSON, where the caller accepts that.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::Refusal;
use crate::principals::Issued;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const REQUEST_ID: &str = "8f2c8cde-1111-2222-3333-0123456789ab";

/// What a call gives.
pub(crate) enum Answer {
    Identity { arn: String, user_id: String },
    Session { action: &'static str, issued: Issued, source_identity: Option<String> },
}

/// A response body.
pub(crate) type Body = Full<Bytes>;

/// Whether the caller wants JSON.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"))
}

impl Answer {
    pub(crate) fn response(&self, json: bool) -> Response<Body> {
        let (action, result) = match self {
            Self::Identity { arn, user_id } => {
                let account = arn.split(':').nth(4).unwrap_or_default();
                ("GetCallerIdentity", json!({"Account": account, "Arn": arn, "UserId": user_id}))
            }
            Self::Session { action, issued, source_identity } => {
                let mut result = json!({
                    "AssumedRoleUser": {"AssumedRoleId": issued.role_id, "Arn": issued.arn},
                    "Credentials": {
                        "AccessKeyId": issued.access_key_id,
                        "SecretAccessKey": issued.secret,
                        "SessionToken": issued.session_token,
                        "Expiration": issued.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    },
                    "PackedPolicySize": 1,
                });
                if let Some(identity) = source_identity {
                    result["SourceIdentity"] = json!(identity);
                }
                (*action, result)
            }
        };
        let whole = json!({
            format!("{action}Result"): result,
            "ResponseMetadata": {"RequestId": REQUEST_ID},
        });
        if json {
            respond(
                StatusCode::OK,
                "application/json",
                json!({format!("{action}Response"): whole}).to_string(),
            )
        } else {
            let inner = xml(&whole);
            let text = format!("<{action}Response xmlns=\"{NAMESPACE}\">{inner}</{action}Response>");
            respond(StatusCode::OK, "text/xml", text)
        }
    }
}

impl Refusal {
    pub(crate) fn response(&self, json: bool) -> Response<Body> {
        let kind = if self.status < 500 { "Sender" } else { "Receiver" };
        let error = json!({
            "Error": {"Type": kind, "Code": self.code, "Message": self.message},
            "RequestId": REQUEST_ID,
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if json {
            respond(status, "application/json", error.to_string())
        } else {
            let text = format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{}</ErrorResponse>", xml(&error));
            respond(status, "text/xml", text)
        }
    }
}

pub(crate) fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn xml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("<{name}>{}</{name}>", xml(value))).collect()
        }
        Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        other => other.to_string(),
    }
}

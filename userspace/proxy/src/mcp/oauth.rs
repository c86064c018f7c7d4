//! An MCP server as a protected resource of OAuth: where tokens for it come from, and what is said to whom has none.

use http::{HeaderValue, Response, StatusCode, header};
use portcullis_mcp::oauth::{challenge, is_metadata, metadata, metadata_url};

use super::McpServer;
use crate::body::ResponseBody;
use crate::refusal::{Refusal, Wording};

/// The metadata of the resource (RFC 9728 §3), which anybody may read; nothing where it has none or something else is
/// asked for.
pub(crate) fn answer(
    server: &McpServer,
    method: &http::Method,
    path: &str,
) -> Option<Response<ResponseBody>> {
    if *method != http::Method::GET || server.authorization_servers.is_empty() {
        return None;
    }
    let resource = server.resource.parse::<http::Uri>().ok()?;
    if !is_metadata(path, resource.path()) {
        return None;
    }
    let body = metadata(&server.resource, &server.authorization_servers, &[]);
    let mut response = Response::new(ResponseBody::whole(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Some(response)
}

/// What is said to whom is not known: where tokens come from, if a token is what is missing (RFC 6750 §3).
pub(crate) fn unidentified(server: &McpServer, refusal: &Refusal) -> Response<ResponseBody> {
    let mut response = refusal.response(&Wording::Rpc(None));
    let Some(missing) = refusal.challenge().filter(|_| !server.authorization_servers.is_empty()) else {
        return response;
    };
    let description = refusal.to_string();
    let error = missing.error.map(|code| (code, description.as_str()));
    if let Ok(value) = HeaderValue::from_str(&challenge(&metadata_url(&server.resource), error, None)) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

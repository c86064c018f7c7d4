//! An MCP server as a protected resource of OAuth: its metadata (RFC 9728), and the challenge that leads a client to
//! them (RFC 6750, section 3).
//!
//! In both eras of the protocol this is how a client finds out where to get a token, and for whom.

use serde_json::{Map, Value};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of `resource`, an absolute URI, as JSON: RFC 9728, section 2. `authorization_servers` are issuers; MCP
/// wants at least one. Without `scopes` a client asks for none.
#[must_use]
pub fn metadata(resource: &str, authorization_servers: &[String], scopes: &[String]) -> Vec<u8> {
    let name = resource.split_once("://").map_or(resource, |(_, name)| name);
    let mut metadata = Map::from_iter([
        ("resource".to_owned(), Value::from(resource)),
        ("bearer_methods_supported".to_owned(), Value::from(vec!["header"])),
        ("resource_name".to_owned(), Value::from(name)),
    ]);
    for (parameter, values) in
        [("authorization_servers", authorization_servers), ("scopes_supported", scopes)]
    {
        // Section 3.2: a parameter without values is left out.
        if !values.is_empty() {
            metadata.insert(parameter.to_owned(), Value::from(values));
        }
    }
    Value::Object(metadata).to_string().into_bytes()
}

/// Where the metadata of `resource`, an absolute URI without query and fragment, are: RFC 9728, section 3.1.
#[must_use]
pub fn metadata_url(resource: &str) -> String {
    let host = resource.find("://").map_or(0, |scheme| scheme + 3);
    let (origin, path) =
        resource.split_at(resource[host..].find('/').map_or(resource.len(), |path| host + path));
    format!("{origin}{}", metadata_path(path))
}

/// Where the metadata of the resource at `resource_path` are, on the same host: RFC 9728, section 3.1.
#[must_use]
pub fn metadata_path(resource_path: &str) -> String {
    let path = if resource_path == "/" { "" } else { resource_path };
    format!("{WELL_KNOWN}{path}")
}

/// Whether `path` is where a client looks for the metadata of the resource at `resource_path`: where they are, or, as MCP
/// has it, at the root of the host.
#[must_use]
pub fn is_metadata(path: &str, resource_path: &str) -> bool {
    path == WELL_KNOWN || path == metadata_path(resource_path)
}

/// The value of `WWW-Authenticate` on a 401, or on a 403 for want of a scope: RFC 6750, section 3, with the URL of the
/// metadata (RFC 9728, section 5.1). `error` is a code and what it means here; a client that presented no token is told
/// none. `scope` are the scopes that a token needs, with a space between them.
#[must_use]
pub fn challenge(metadata_url: &str, error: Option<(&str, &str)>, scope: Option<&str>) -> String {
    let (code, description) = error.unzip();
    // What was made of a client's words comes last: some clients search for the names of the others.
    let parameters = [
        ("resource_metadata", Some(metadata_url)),
        ("scope", scope),
        ("error", code),
        ("error_description", description),
    ];
    let mut challenge = "Bearer".to_owned();
    let mut separator = " ";
    for (name, value) in parameters {
        if let Some(value) = value {
            challenge.extend([separator, name, "=\""]);
            challenge.extend(value.chars().map(quotable));
            challenge.push('"');
            separator = ", ";
        }
    }
    challenge
}

/// What may stand between quotes without an escape: RFC 6750, section 3, wants no other. Anything else could end the
/// value, or the header.
fn quotable(c: char) -> char {
    match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn metadata_are_as_rfc_9728_has_them() {
        let servers = texts(&["https://as1.example.com", "https://as2.example.net"]);
        let written =
            metadata("https://resource.example.com", &servers, &texts(&["profile", "email", "phone"]));
        assert_eq!(
            serde_json::from_slice::<Value>(&written).unwrap(),
            json!({
                "resource": "https://resource.example.com",
                "authorization_servers": ["https://as1.example.com", "https://as2.example.net"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["profile", "email", "phone"],
                "resource_name": "resource.example.com",
            })
        );
        let bare: Value = serde_json::from_slice(&metadata("https://h/mcp", &[], &[])).unwrap();
        assert_eq!(
            bare,
            json!({"resource": "https://h/mcp", "bearer_methods_supported": ["header"], "resource_name": "h/mcp"})
        );
    }

    #[test]
    fn metadata_are_where_rfc_9728_has_them() {
        assert_eq!(metadata_path("/resource1"), "/.well-known/oauth-protected-resource/resource1");
        for root in ["", "/"] {
            assert_eq!(metadata_path(root), "/.well-known/oauth-protected-resource");
        }
        for path in
            ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/public/mcp"]
        {
            assert!(is_metadata(path, "/public/mcp"), "{path}");
        }
        for path in [
            "/public/mcp",
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-protected-resource/public",
            "/.well-known/oauth-protected-resource/public/mcp/x",
            "/.well-known/oauth-protected-resourcex",
            "/public/mcp/.well-known/oauth-protected-resource",
            "/.Well-Known/oauth-protected-resource",
        ] {
            assert!(!is_metadata(path, "/public/mcp"), "{path}");
        }
    }

    #[test]
    fn metadata_have_a_url_on_the_host_of_the_resource() {
        for (resource, url) in [
            (
                "https://resource.example.com",
                "https://resource.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://resource.example.com/",
                "https://resource.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://resource.example.com/resource1",
                "https://resource.example.com/.well-known/oauth-protected-resource/resource1",
            ),
            ("http://[::1]:8080/mcp/mcp", "http://[::1]:8080/.well-known/oauth-protected-resource/mcp/mcp"),
        ] {
            assert_eq!(metadata_url(resource), url);
        }
    }

    #[test]
    fn a_challenge_leads_to_the_metadata() {
        let url = "https://resource.example.com/.well-known/oauth-protected-resource";
        assert_eq!(challenge(url, None, None), format!("Bearer resource_metadata=\"{url}\""));
        assert_eq!(
            challenge(url, None, Some("files:read files:write")),
            format!("Bearer resource_metadata=\"{url}\", scope=\"files:read files:write\"")
        );
        assert_eq!(
            challenge(url, Some(("invalid_token", "The access token expired")), None),
            format!(
                "Bearer resource_metadata=\"{url}\", error=\"invalid_token\", \
                 error_description=\"The access token expired\""
            )
        );
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        let nasty = "a\" scope=\"admin\\\" \r\nSet-Cookie: x\u{0}é\u{7f}";
        let written = challenge("https://h/", Some(("invalid_token", nasty)), Some("read"));
        assert!(written.ends_with("error_description=\"a' scope='admin/' ??Set-Cookie: x???\""), "{written}");
        assert_eq!(written.matches('"').count(), 8);
        http::HeaderValue::from_str(&written).unwrap();
    }
}

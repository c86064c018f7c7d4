//! Whom a token is for.
//!
//! Audiences are read strictly: a token must be for one of the configured audiences and *for nobody else*, since
//! everybody it is for can pass it on. Where it is for several, `azp` must say that it was given to one of them. The
//! ID token of a login must besides be for our client itself. OpenID Connect Core, section 3.1.3.7.
//!
//! Where the target is a protected resource, that is the one audience instead: an authorization server writes into
//! `aud` what the client named as the `resource` that it wants the token for (RFC 8707, section 2). Of that URI, scheme
//! and host count in any case, the scheme's own port and the slash of an otherwise empty path may be there or not
//! (RFC 3986, sections 6.2.2.1 and 6.2.3), and all else letter for letter: what is rewritten any further could turn one
//! server's name into another's.

use serde_json::{Map, Value};

use super::claims::claim;
use super::jwt::shown;
use super::{Issuer, Purpose, TokenRefusal};

/// What a URI without fragment and query consists of beside letters and digits: RFC 3986, section 2. A resource has no
/// fragment, and should have no query: its metadata would have a URL for each (RFC 9728, sections 1.2 and 3.1).
const MARKS: &[u8] = b"-._~:/[]@!$&'()*+,;=%";

pub(super) fn check_audience(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    purpose: Purpose<'_>,
) -> Result<(), TokenRefusal> {
    let found = audiences(claims)?;
    let ours = match purpose {
        Purpose::Bearer { resource: Some(resource) } => return check_resource(&found, resource),
        Purpose::Bearer { resource: None } => false,
        Purpose::Login { .. } | Purpose::Refresh { .. } => true,
    };
    let client = issuer.client_id.as_str();
    let known = |audience: &str| {
        issuer.audiences.iter().any(|known| known == audience) || (ours && audience == client)
    };
    let meant = if ours { found.contains(&client) } else { found.iter().any(|audience| known(audience)) };
    if !meant {
        let expected = if ours { client.to_owned() } else { issuer.audiences.join(", ") };
        return Err(TokenRefusal::Audience { found: shown_list(&found), expected });
    }
    if let Some(foreign) = found.iter().find(|audience| !known(audience)) {
        return Err(TokenRefusal::ForeignAudience(shown(foreign)));
    }
    match claims.get("azp") {
        None if found.len() > 1 => Err(TokenRefusal::AuthorizedParty("nobody (azp is missing)".to_owned())),
        // Beside one audience, `azp` names the client that asked for the token on that audience's behalf.
        None => Ok(()),
        Some(Value::String(party)) if ours && party == client => Ok(()),
        Some(Value::String(party)) if !ours && (found.len() == 1 || known(party) || party == client) => {
            Ok(())
        }
        Some(Value::String(party)) => Err(TokenRefusal::AuthorizedParty(format!("{:?}", shown(party)))),
        Some(_) => Err(claim("azp", "is not a text")),
    }
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, TokenRefusal> {
    match claims.get("aud") {
        None => Err(claim("aud", "is missing")),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(list)) => list
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| claim("aud", "lists something else than texts")),
        Some(_) => Err(claim("aud", "is neither a text nor a list of texts")),
    }
}

/// Whether a token that is for `found` may be presented to `resource`: for that, and for nobody else.
fn check_resource(found: &[&str], resource: &str) -> Result<(), TokenRefusal> {
    let expected = canonical(resource);
    let meant = |audience: &&str| expected.is_some() && canonical(audience) == expected;
    if !found.is_empty() && found.iter().all(meant) {
        return Ok(());
    }
    Err(TokenRefusal::Resource { found: shown_list(found), expected: resource.to_owned() })
}

/// Why `text` names no resource that a token could be for.
pub(crate) fn problem_of_resource(text: &str) -> Option<&'static str> {
    canonical(text)
        .is_none()
        .then_some("it is not https://HOST[:PORT][/PATH] (or http://), without query and fragment")
}

/// The form in which two resources are compared; `None` where `uri` can name none.
fn canonical(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || MARKS.contains(&byte)) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let host = authority.strip_suffix(own_port).unwrap_or(&authority);
    if host.is_empty() || host.starts_with(':') || host.contains('@') {
        return None;
    }
    let path = if path == "/" { "" } else { path };
    Some(format!("{scheme}://{host}{path}"))
}

fn shown_list(audiences: &[&str]) -> String {
    if audiences.is_empty() {
        return "nobody".to_owned();
    }
    audiences.iter().map(|audience| shown(audience)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = "https://mcp.example.com/mcp";

    #[test]
    fn one_resource_in_its_spellings() {
        for (one, other) in [
            (RESOURCE, RESOURCE),
            (RESOURCE, "HTTPS://MCP.Example.COM:443/mcp"),
            ("https://mcp.example.com", "https://mcp.example.com/"),
            ("https://mcp.example.com:8443/", "https://mcp.example.com:8443"),
            ("http://[2001:DB8::1]/x", "http://[2001:db8::1]:80/x"),
        ] {
            check_resource(&[one], other).unwrap();
            check_resource(&[other, one], one).unwrap();
        }
    }

    #[test]
    fn what_is_another_resource_or_none() {
        for other in [
            "https://mcp.example.com",
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/MCP",
            "https://mcp.example.com/%6dcp",
            "https://mcp.example.com/x/../mcp",
            "https://mcp.example.com//mcp",
            "https://mcp.example.com/mcp?x",
            "https://mcp.example.com/mcp#x",
            "https://mcp.example.com\\mcp",
            "https://mcp.example.com/mcp\"",
            "https://mcp.example.com:8443/mcp",
            "https://mcp.example.com:80/mcp",
            "https://mcp.example.com.:443/mcp",
            "https://mcp.example.com@evil.example/mcp",
            "https://x@mcp.example.com/mcp",
            "http://mcp.example.com/mcp",
            " https://mcp.example.com/mcp",
            "https://mcp.example.com/m\tcp",
            "mcp.example.com/mcp",
            "",
        ] {
            let refusal = check_resource(&[other], RESOURCE).unwrap_err();
            assert!(matches!(refusal, TokenRefusal::Resource { .. }), "{other}");
        }
        check_resource(&[], RESOURCE).unwrap_err();
        check_resource(&[RESOURCE, "https://idp.example.com/userinfo"], RESOURCE).unwrap_err();
        // What names no resource is equal to nothing, itself included.
        check_resource(&["portcullis"], "portcullis").unwrap_err();
    }

    #[test]
    fn what_a_target_cannot_be_called() {
        for good in
            [RESOURCE, "https://mcp.example.com", "https://mcp.example.com:8443", "http://10.0.0.1/a/b"]
        {
            assert_eq!(problem_of_resource(good), None, "{good}");
        }
        for bad in [
            "mcp.example.com",
            "https://mcp.example.com#fragment",
            "https://mcp.example.com/mcp?query",
            "https://",
            "https://:443",
            "urn:x:y",
            "",
        ] {
            assert!(problem_of_resource(bad).is_some(), "{bad}");
        }
    }
}

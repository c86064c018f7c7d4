//! Whether a web page may speak to the server (MCP 2026-07-28, Streamable HTTP, security): without this, a page on any
//! site whose name is made to resolve to the server's address could.

/// Whether a request with this `Origin` may pass: a page of a host in `own` (names or addresses, without port), whatever
/// its port, or an origin that is in `listed` (`https://app.example:8443`).
#[must_use]
pub fn origin_allowed(origin: &str, own: &[String], listed: &[String]) -> bool {
    let same = |other: &String| other.eq_ignore_ascii_case(origin);
    listed.iter().any(same) || host(origin).is_some_and(|host| own.iter().any(|own| is_host(own, host)))
}

/// The host of an origin as browsers write it (RFC 6454, section 6.2).
fn host(origin: &str) -> Option<&str> {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
    let (host, port) = match rest.rfind(':') {
        Some(colon) if !rest.ends_with(']') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    };
    let digits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()));
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    let address = |inner: &str| {
        inner.contains(':') && inner.bytes().all(|c| c.is_ascii_hexdigit() || b":.".contains(&c))
    };
    let whole = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => address(inner),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    (digits && whole).then_some(host)
}

/// Whether a configured host is this one; IPv6 addresses are configured with or without brackets.
fn is_host(own: &str, host: &str) -> bool {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    bare(own) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_may_not() {
        let own = ["mcp.internal".to_owned(), "10.0.0.5".to_owned(), "fd00::5".to_owned()];
        let listed = ["https://app.example:8443".to_owned(), "vscode-webview://x1".to_owned()];
        for (origin, allowed) in [
            ("https://mcp.internal", true),
            ("http://MCP.internal:3000", true),
            ("http://10.0.0.5:80", true),
            ("http://[fd00::5]:80", true),
            ("http://[FD00::5]", true),
            ("https://app.example:8443", true),
            ("vscode-webview://x1", true),
            ("https://evil.example", false),
            ("https://app.example", false),
            ("http://app.example:8443", false),
            ("https://mcp.internal.evil.example", false),
            ("https://evil.example/mcp.internal", false),
            ("https://mcp.internal@evil.example", false),
            ("https://evil.example:80#mcp.internal", false),
            ("https://mcp.internal:80:80", false),
            ("https://mcp.internal:", false),
            ("https://mcp.internal/", false),
            ("https://mcp.internal ", false),
            ("ftp://mcp.internal", false),
            ("chrome-extension://mcp.internal", false),
            ("mcp.internal", false),
            ("https://", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origin_allowed(origin, &own, &listed), allowed, "{origin:?}");
        }
        assert!(!origin_allowed("https://mcp.internal", &[], &[]));
    }
}

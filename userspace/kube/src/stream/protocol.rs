//! Which protocol an upgrade led to, from the headers of the 101 answer.

use super::StreamError;
use crate::query_values;

/// Two channels each, numbered by a byte.
const MAX_PORTS: usize = 127;

/// How exec or attach is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A SPDY/3.1 stream per channel.
    Spdy(Version),
    /// WebSocket messages that start with their channel's number.
    WebSocket {
        /// The remote command protocol's version.
        version: Version,
        /// Text messages: a digit, then base64.
        base64: bool,
    },
}

/// The remote command protocol's version. Up to v3 the error channel carries text and is silent on success; from v4 it
/// carries a Status; v5 can close single channels on WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Version {
    V1,
    V2,
    V3,
    V4,
    V5,
}

/// How port-forward is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortForwardProtocol {
    /// Two SPDY/3.1 streams per forwarded connection.
    Spdy,
    /// The same, in binary WebSocket messages whose boundaries mean nothing.
    SpdyInWebSocket,
    /// Two WebSocket channels per port, for one connection each.
    Channels {
        /// Text messages: a digit, then base64.
        base64: bool,
        /// The ports in the order asked for: channels 2n and 2n + 1 are the nth one's.
        ports: Vec<u16>,
    },
}

impl Protocol {
    /// From the answer's `Upgrade`, and its `X-Stream-Protocol-Version` (SPDY) or `Sec-WebSocket-Protocol` (WebSocket).
    ///
    /// # Errors
    /// When there is no decoder for it.
    pub fn negotiated(upgrade: &str, subprotocol: Option<&str>) -> Result<Self, StreamError> {
        let name = subprotocol.unwrap_or_default();
        let plain = match name {
            "" | "channel.k8s.io" => Some(Version::V1),
            "v2.channel.k8s.io" => Some(Version::V2),
            "v3.channel.k8s.io" => Some(Version::V3),
            "v4.channel.k8s.io" => Some(Version::V4),
            "v5.channel.k8s.io" => Some(Version::V5),
            _ => None,
        };
        let coded = match name {
            "base64.channel.k8s.io" => Some(Version::V1),
            "v4.base64.channel.k8s.io" => Some(Version::V4),
            _ => None,
        };
        let protocol = match (is_spdy(upgrade), is_websocket(upgrade)) {
            (true, _) => plain.filter(|v| *v < Version::V5).map(Self::Spdy),
            (_, true) => (plain.map(|version| Self::WebSocket { version, base64: false }))
                .or(coded.map(|version| Self::WebSocket { version, base64: true })),
            _ => None,
        };
        protocol.ok_or_else(|| unknown(upgrade, name))
    }

    /// The remote command protocol's version.
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            Self::Spdy(version) | Self::WebSocket { version, .. } => version,
        }
    }
}

impl PortForwardProtocol {
    /// From the same headers as [`Protocol::negotiated`], and the request target, whose `ports` number the channels.
    ///
    /// # Errors
    /// When there is no decoder for it.
    pub fn negotiated(upgrade: &str, subprotocol: Option<&str>, target: &str) -> Result<Self, StreamError> {
        let name = subprotocol.unwrap_or_default();
        let channels = |base64| {
            let lists = query_values(target, "ports").join(",");
            let ports =
                lists.split(',').map(|port| port.trim().parse().ok()).collect::<Option<Vec<u16>>>()?;
            (ports.len() <= MAX_PORTS).then_some(Self::Channels { base64, ports })
        };
        let protocol = match (is_spdy(upgrade), is_websocket(upgrade), name) {
            (true, _, "" | "portforward.k8s.io") => Some(Self::Spdy),
            (_, true, "SPDY/3.1+portforward.k8s.io") => Some(Self::SpdyInWebSocket),
            (_, true, "" | "v4.channel.k8s.io") => channels(false),
            (_, true, "v4.base64.channel.k8s.io") => channels(true),
            _ => None,
        };
        protocol.ok_or_else(|| unknown(upgrade, name))
    }
}

fn is_spdy(upgrade: &str) -> bool {
    upgrade.eq_ignore_ascii_case("SPDY/3.1")
}

fn is_websocket(upgrade: &str) -> bool {
    upgrade.eq_ignore_ascii_case("websocket")
}

fn unknown(upgrade: &str, subprotocol: &str) -> StreamError {
    StreamError::Protocol { upgrade: upgrade.to_owned(), subprotocol: subprotocol.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiated() {
        use Version::*;
        let exec = |upgrade, name| Protocol::negotiated(upgrade, name).ok();
        assert_eq!(exec("SPDY/3.1", Some("v4.channel.k8s.io")), Some(Protocol::Spdy(V4)));
        assert_eq!(exec("SPDY/3.1", None), Some(Protocol::Spdy(V1)));
        assert_eq!(exec("SPDY/3.1", Some("v5.channel.k8s.io")), None);
        let websocket = |version, base64| Some(Protocol::WebSocket { version, base64 });
        assert_eq!(exec("websocket", Some("v5.channel.k8s.io")), websocket(V5, false));
        assert_eq!(exec("WebSocket", None), websocket(V1, false));
        assert_eq!(exec("websocket", Some("base64.channel.k8s.io")), websocket(V1, true));
        assert_eq!(exec("websocket", Some("v9.channel.k8s.io")), None);
        assert_eq!(exec("h2c", None), None);

        let forward = |name, target| PortForwardProtocol::negotiated("websocket", name, target).ok();
        let channels =
            |ports: &[u16]| Some(PortForwardProtocol::Channels { base64: false, ports: ports.to_vec() });
        assert_eq!(forward(Some("v4.channel.k8s.io"), "/x?ports=80,443&ports=1"), channels(&[80, 443, 1]));
        assert_eq!(forward(Some("v4.channel.k8s.io"), "/x?ports=http"), None);
        assert_eq!(forward(Some("v4.channel.k8s.io"), "/x"), None);
        assert_eq!(
            forward(Some("SPDY/3.1+portforward.k8s.io"), "/x"),
            Some(PortForwardProtocol::SpdyInWebSocket)
        );
    }
}

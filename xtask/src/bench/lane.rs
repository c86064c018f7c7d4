//! The ways to the API server that are compared, and what is asked for on them.

use std::fmt;
use std::time::Duration;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Nothing between.
    Direct,
    /// nginx, TLS on both sides.
    Nginx,
    /// Portcullis, recording events and bodies.
    Recorded,
    /// Portcullis, recording events.
    Metadata,
    /// Portcullis, masking Pods and recording what is left.
    MaskedPods,
    /// Portcullis, masking Secrets and recording what is left.
    MaskedSecrets,
}

/// In the order in which a round takes them.
const LANES: [Lane; 6] =
    [Lane::Direct, Lane::Nginx, Lane::Recorded, Lane::Metadata, Lane::MaskedPods, Lane::MaskedSecrets];

/// The same over h2.
const H2_LANES: [Lane; 4] = [Lane::Direct, Lane::Nginx, Lane::Recorded, Lane::MaskedPods];

/// What is compared over h2, or over HTTP/1.1.
pub(crate) fn lanes(h2: bool) -> &'static [Lane] {
    if h2 { &H2_LANES } else { &LANES }
}

impl Lane {
    pub(crate) fn through_gate(self) -> bool {
        !matches!(self, Self::Direct | Self::Nginx)
    }

    pub(crate) fn path(self, size: Size) -> String {
        let (namespace, resource) = match self {
            Self::Direct | Self::Nginx | Self::Recorded => ("recorded", "pods"),
            Self::Metadata => ("quiet", "pods"),
            Self::MaskedPods => ("masked", "pods"),
            Self::MaskedSecrets => ("masked", "secrets"),
        };
        let query = match size {
            Size::Small => "?limit=4",
            Size::Large => "",
            Size::Many => "?limit=5000",
        };
        format!("/api/v1/namespaces/{namespace}/{resource}{query}")
    }

    /// An exec whose command writes this many bytes.
    pub(crate) fn exec(self, bytes: u64) -> String {
        let namespace = if self == Self::MaskedPods { "masked" } else { "recorded" };
        format!("/api/v1/namespaces/{namespace}/pods/shell/exec?command=cat&stdout=true&bytes={bytes}")
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Recorded => "portcullis",
            Self::Metadata => "  events only",
            Self::MaskedPods => "  masked pods",
            Self::MaskedSecrets => "  masked secrets",
        })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 4.9 KB.
    Small,
    /// 1 MB.
    Large,
    /// 5,000 objects: 8 MB of pods.
    Many,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "4.9 KB",
            Self::Large => "1 MB",
            Self::Many => "5,000-object",
        })
    }
}

/// How it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) size: Size,
    /// Over h2, one request at a time on each connection; else over HTTP/1.1.
    pub(crate) h2: bool,
    pub(crate) connections: usize,
    /// The time that counts, of each sample.
    pub(crate) counted: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, h2, connections, .. } = self;
        write!(f, "{size} lists on {connections} connections{}", if *h2 { " over h2" } else { "" })
    }
}

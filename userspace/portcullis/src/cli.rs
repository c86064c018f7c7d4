//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use crate::print::Format;

/// Just-in-time access to Kubernetes API servers, with unmodified kubectl.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// The gate's configuration
    #[arg(
        long,
        global = true,
        env = "PORTCULLIS_CONFIG",
        default_value = "/etc/portcullis/portcullis.yaml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// The daemon's control socket
    #[arg(
        long,
        global = true,
        env = "PORTCULLIS_SOCKET",
        default_value = "/run/portcullis/control.sock",
        value_name = "FILE"
    )]
    pub(crate) socket: PathBuf,
    /// How to print data
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the proxy behind the gate
    Run,
    /// Load, inspect or remove the kernel programs
    #[command(subcommand)]
    Gate(GateVerb),
    /// Make a kubeconfig trust the gate, or stop trusting it
    #[command(subcommand)]
    Trust(TrustVerb),
    /// Log in at the identity provider
    Login(LoginArgs),
    /// End your login; streams that run under it are cut
    Logout,
    /// Say who the gate takes you for
    Whoami,
    /// Ask for a role for some time
    Request(RequestArgs),
    /// List requests for access, and requests to targets that wait for somebody's word
    Requests(ListArgs),
    /// Approve somebody else's request, or agree to a held one
    Approve(DecideArgs),
    /// Deny a request, or say no to a held one; your own is withdrawn
    Deny(DecideArgs),
    /// End grants now; their running streams are cut
    Revoke(RevokeArgs),
    /// Ask to hold a grant for longer
    Extend(ExtendArgs),
    /// List grants
    Grants(ListArgs),
    /// Look at what was recorded
    #[command(subcommand)]
    Sessions(SessionsVerb),
    /// Check roles and see how requests are read
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Mask Kubernetes objects from standard input to standard output
    Mask(MaskArgs),
    /// Check that this machine can run the gate
    Doctor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GateVerb {
    /// Load the kernel programs and pin them; access to the targets is closed from then on unless the daemon runs
    Load,
    /// Show what is loaded, the targets and the counters
    Status,
    /// Detach the kernel programs: the targets can be reached around the gate from then on
    Unload,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustVerb {
    /// Add the gate's CA to the clusters of a kubeconfig that are targets
    Install(TrustArgs),
    /// Print the gate's CA in PEM, for clients without a kubeconfig: curl --cacert, NODE_EXTRA_CA_CERTS, SSL_CERT_FILE
    Print,
    /// Check whether a kubeconfig trusts the gate
    Check(TrustArgs),
    /// Take the gate's CA out again
    Remove(TrustArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The kubeconfig [default: the files of $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The provider, by its name in the configuration [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// Log in with a browser on this host, instead of a code that is typed on any device
    #[arg(long)]
    pub(crate) browser: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["from", "role"]).required(true))]
pub(crate) struct RequestArgs {
    /// Ask for just what was denied: the id that the refusal showed
    #[arg(long, value_name = "ID", conflicts_with = "target")]
    pub(crate) from: Option<String>,
    /// The role to ask for
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// The target [default: the role's only one]
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// For how long, from approval on: 30m, 4h, 1h30m [default with --from: what the refusal showed]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "from")]
    pub(crate) duration: Option<std::time::Duration>,
    /// When it is to begin: 2026-03-02T09:00 in your time zone, or with one, as 2026-03-02T09:00Z [default: once approved]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<jiff::Timestamp>,
    /// Why; some roles let you leave it out
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Take the role at once, without approval: for those whom its emergency terms name. Everybody who watches is alerted
    #[arg(long, conflicts_with = "at")]
    pub(crate) emergency: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Decided and ended ones too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The id of a request (r-…) or a held one (h-…), as `portcullis requests` shows it
    pub(crate) id: String,
    /// A word on why
    #[arg(long, default_value = "")]
    pub(crate) comment: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which")
    .args(["id", "subject", "role", "target", "all"])
    .required(true)
    .multiple(true))]
pub(crate) struct RevokeArgs {
    /// One grant, by its id, as `portcullis grants` shows it
    #[arg(conflicts_with_all = ["subject", "role", "target", "all"])]
    pub(crate) id: Option<String>,
    /// Every live grant that this person holds
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// Every live grant of this role
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// Every live grant on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Every live grant there is: a lockdown, for administrators
    #[arg(long, conflicts_with_all = ["subject", "role", "target"])]
    pub(crate) all: bool,
    /// Why; the engineer reads it in the stream that is cut
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExtendArgs {
    /// The grant's id, as `portcullis grants` shows it
    pub(crate) id: String,
    /// For how much longer: 30m, 4h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: std::time::Duration,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsVerb {
    /// List recorded sessions
    List(SessionsArgs),
    /// Show what happened in a session
    Show(SessionArgs),
    /// Play a recorded terminal or command output in its own time
    Play(PlayArgs),
    /// Write a session to a file for other tools
    Export(ExportArgs),
    /// Check recordings for damage
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// The recording directory [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The session's id, or enough of its beginning
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) from: SessionsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// How many times faster
    #[arg(long, default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Shorten pauses to this many seconds
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) max_idle: f64,
    /// The request, when the session has several streams
    #[arg(long, value_name = "NUMBER")]
    pub(crate) request: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// The form
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// The request, when the session has several streams
    #[arg(long, value_name = "NUMBER")]
    pub(crate) request: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormat {
    /// asciicast v2, for asciinema and its players
    Asciicast,
    /// One JSON object an event
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The session [default: all]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) from: SessionsArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Check the configuration and the role files; errors name file, line and field
    Check,
    /// Say which roles would allow or deny a request, by which rules, and what it takes to get them
    Explain(Box<ExplainArgs>),
    /// Check what roles are expected to do; exit code 1 when an expectation fails
    Test(TestArgs),
    /// Read JSON lines {"method","target"} and print how the API server would read each
    Classify,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The verb: get, list, watch, create, update, patch, delete or deletecollection; or mcp
    pub(crate) verb: String,
    /// RESOURCE[.GROUP][/SUBRESOURCE], such as pods, deployments.apps or pods/exec; or a path, such as /metrics; or for
    /// mcp a method, such as tools/call
    pub(crate) what: String,
    /// The object's name; for mcp the tool, resource or prompt, for completion/complete prompt:NAME or resource:URI
    pub(crate) name: Option<String>,
    /// The namespace [default: none, for cluster-scoped objects and for all namespaces at once]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
    /// The target
    #[arg(long)]
    pub(crate) target: String,
    /// The person
    #[arg(long, value_name = "NAME", required_unless_present = "live")]
    pub(crate) subject: Option<String>,
    /// Their groups, with commas between [default: those that the configuration maps the person to]
    #[arg(long, value_delimiter = ',', requires = "subject")]
    pub(crate) groups: Option<Vec<String>>,
    /// When it is asked for, for conditions: 2026-03-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<jiff::Timestamp>,
    /// What else conditions look at, as YAML: '{command: [ls], process: {uid: 1001, gid: 1001, exe: /usr/bin/kubectl, argv: []}}'
    #[arg(long, value_name = "YAML")]
    pub(crate) facts: Option<String>,
    /// The arguments of an MCP request: '{"path": "/srv/x"}'
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) arguments: Option<Map<String, Value>>,
    /// The command of an exec, behind --
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) roles: RolesArgs,
    /// Ask the daemon what would be decided now, for you, with the grants that you hold
    #[arg(long, conflicts_with_all = ["subject", "groups", "at", "facts", "roles"])]
    pub(crate) live: bool,
}

fn json_object(text: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(text)
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Files of kind PolicyTest
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) roles: RolesArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RolesArgs {
    /// The folder of roles; no configuration is read then [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub(crate) roles: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MaskArgs {
    /// What comes in
    #[arg(long, value_enum)]
    pub(crate) format: MaskFormat,
    /// A mask policy [default: what is masked without one]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// What it is: secrets, deployments.apps, serviceaccounts/token [default: it may be anything, Secrets too]
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) resource: Option<String>,
    /// The key for digests [default: one made for this run, so that digests of two runs differ]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MaskFormat {
    /// An object or a list
    Json,
    /// A Table
    Table,
    /// Watch events, one after the other
    Watch,
    /// An object or a list in Kubernetes' protobuf
    Protobuf,
    /// Watch events in Kubernetes' protobuf
    WatchProtobuf,
    /// Text of any kind, a log
    Text,
}

fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    portcullis_access::parse_moment(text, &jiff::tz::TimeZone::system()).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    portcullis_access::parse_duration(text).map_err(|error| error.to_string())
}

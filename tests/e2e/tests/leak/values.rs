//! The values that are planted: of many shapes, the same in every run, none real.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "most values have one part that is secret, some have two"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

/// How many values are planted.
pub(crate) const VALUES: usize = 300;

/// Where a value stands in the cluster, or how it comes to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// `data` of Secrets.
    SecretData,
    /// The same, 100 KB and more.
    Large,
    /// Secrets that `kubectl apply` made of `stringData`, with a copy in an annotation.
    Applied,
    /// Secrets of the types that Kubernetes knows.
    Typed,
    /// Helm's releases, in Secrets and ConfigMaps.
    Release,
    /// ConfigMaps, under the name of a secret.
    ConfigMapKey,
    /// ConfigMaps, under innocent names.
    ConfigMapText,
    /// Environment variables with the name of a secret.
    EnvironmentName,
    /// Environment variables with innocent names, arguments and commands.
    EnvironmentText,
    /// Probes, hooks, what a container said when it ended, and events.
    PodText,
    /// Annotations.
    Annotation,
    /// What a container logs.
    Log,
    /// What a command in a container prints.
    Exec,
    /// The environment that such a command runs in.
    ExecEnvironment,
    /// What an attached container prints.
    Attach,
    /// What a forwarded port answers.
    Forward,
    /// Certificate requests.
    CertificateRequest,
    /// What the client itself says: on its command line, in a body that is refused, into a terminal.
    Said,
    /// Its credentials, which nobody else is shown even where nothing is masked.
    Credential,
}

/// One planted value.
#[derive(Debug, Clone)]
pub(crate) struct Planted {
    /// Where it is planted.
    pub(crate) place: Place,
    /// What it looks like.
    pub(crate) shape: &'static str,
    /// As it stands there.
    pub(crate) value: Vec<u8>,
    /// The parts that nobody may see.
    pub(crate) secret: Vec<Range<usize>>,
}

/// A source of numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Random(u64);

/// All values, in the order of their places.
pub(crate) fn planted() -> Vec<Planted> {
    let mut random = Random(0x706f_7274_6375_6c6c);
    let mut all = Vec::new();
    let mut plant = |place, count: usize, make: &dyn Fn(&mut Random, usize) -> Shaped| {
        for number in 0..count {
            let Shaped { shape, value, secret } = make(&mut random, number);
            all.push(Planted { place, shape, value, secret });
        }
    };
    plant(Place::SecretData, 60, &|random, number| random.anything(number));
    plant(Place::Large, 3, &|random, number| random.large(number));
    plant(Place::Applied, 24, &|random, number| random.text(number));
    plant(Place::Typed, 8, &|random, number| random.typed(number));
    plant(Place::Release, 12, &|random, _| random.release());
    plant(Place::ConfigMapKey, 24, &|random, number| random.text(number));
    plant(Place::ConfigMapText, 27, &|random, number| random.detectable(number));
    plant(Place::EnvironmentName, 30, &|random, number| random.text(number));
    plant(Place::EnvironmentText, 14, &|random, number| random.detectable(number));
    plant(Place::PodText, 8, &|random, number| random.detectable_line(number));
    plant(Place::Annotation, 18, &|random, number| {
        if number < 10 { random.text(number) } else { random.detectable(number) }
    });
    plant(Place::Log, 22, &|random, number| random.detectable(number));
    plant(Place::Exec, 18, &|random, number| random.detectable(number));
    plant(Place::ExecEnvironment, 10, &|random, _| random.word(20));
    plant(Place::Attach, 4, &|random, number| random.detectable(number));
    plant(Place::Forward, 6, &|random, number| random.detectable_line(number));
    plant(Place::CertificateRequest, 2, &|random, _| random.certificate_request());
    plant(Place::Said, 8, &|random, _| random.word(28));
    plant(Place::Credential, 2, &|random, _| random.word(28));
    assert_eq!(all.len(), VALUES);
    all
}

struct Shaped {
    shape: &'static str,
    value: Vec<u8>,
    secret: Vec<Range<usize>>,
}

impl Shaped {
    /// All of it is secret.
    fn whole(shape: &'static str, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        Self { shape, secret: vec![0..value.len()], value }
    }

    /// Only `secret` is, between what is not.
    fn within(shape: &'static str, before: &str, secret: &str, after: &str) -> Self {
        let value = format!("{before}{secret}{after}").into_bytes();
        Self { shape, value, secret: vec![before.len()..before.len() + secret.len()] }
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.next() as usize % alphabet.len()])).collect()
    }

    fn alphanumeric(&mut self, length: usize) -> String {
        self.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", length)
    }

    fn hex(&mut self, length: usize) -> String {
        self.of(b"0123456789abcdef", length)
    }

    /// One word, as passwords are.
    fn word(&mut self, length: usize) -> Shaped {
        Shaped::whole("word", self.alphanumeric(length))
    }

    /// What only a Secret can hold, and everything else.
    fn anything(&mut self, number: usize) -> Shaped {
        match number % 20 {
            0 => Shaped::whole("binary", self.bytes(48)),
            1 => Shaped::whole("gzip", packed(self.alphanumeric(80).as_bytes())[10..].to_vec()),
            2 => Shaped::whole(
                "control characters",
                format!("\u{1}\t\u{1b}[31m{}\u{7f}\0", self.alphanumeric(16)),
            ),
            other => self.text(other),
        }
    }

    /// Any text.
    fn text(&mut self, number: usize) -> Shaped {
        match number % 17 {
            0 => Shaped::whole("short", self.alphanumeric(8)),
            1 => self.word(24),
            2 => {
                let (first, last) = (self.alphanumeric(9), self.alphanumeric(9));
                Shaped::whole("quotes and backslashes", format!("{first}\"\\'`{last}\\\\\""))
            }
            3 => {
                let lines = [self.alphanumeric(20), self.alphanumeric(31), self.alphanumeric(14)];
                Shaped::whole("lines", lines.join("\n"))
            }
            4 => {
                let (first, last) = (self.alphanumeric(8), self.alphanumeric(11));
                Shaped::whole("beyond ASCII", format!("{first}-pä\u{df}wört-🔑-{last}"))
            }
            5 => {
                let (first, last) = (self.alphanumeric(10), self.alphanumeric(10));
                Shaped::whole("of HTML", format!("{first}<&>{last}&amp;"))
            }
            6 => Shaped::whole("hexadecimal", self.hex(64)),
            7 => Shaped::whole("base64", STANDARD.encode(self.bytes(45))),
            8 => {
                let (password, token) = (self.alphanumeric(20), self.hex(32));
                let value =
                    json!({"user": "shop", "password": password, "nested": {"token": token}}).to_string();
                let at = |part: &str| value.find(part).map(|at| at..at + part.len());
                let secret = [at(&password), at(&token)].into_iter().flatten().collect();
                Shaped { shape: "JSON", secret, value: value.into_bytes() }
            }
            9 => {
                let (first, last) = (self.alphanumeric(12), self.alphanumeric(12));
                Shaped::whole("spaces", format!("{first} and {last}"))
            }
            10 => Shaped::whole("long", self.alphanumeric(2000)),
            other => self.detectable(other),
        }
    }

    /// What its looks give away, wherever it stands.
    fn detectable(&mut self, number: usize) -> Shaped {
        match number % 18 {
            0 => {
                let lines: Vec<String> = (0..6).map(|_| self.key_line()).collect();
                let before = "-----BEGIN PRIVATE KEY-----\n";
                Shaped::within("private key", before, &lines.join("\n"), "\n-----END PRIVATE KEY-----\n")
            }
            1 => {
                let id = format!("AKIA{}", self.of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16));
                let key = self.of(b"abcdefghijkmnopqrstuvwxyzABCDEFGHIJKLMNPQRSTUVWXYZ0123456789+/", 40);
                let value = format!("aws_access_key_id = {id}\naws_secret_access_key = {key}\n");
                let secret = [&id, &key].map(|part| value.find(part.as_str()).map(|at| at..at + part.len()));
                Shaped {
                    shape: "AWS",
                    secret: secret.into_iter().flatten().collect(),
                    value: value.into_bytes(),
                }
            }
            other => self.detectable_line(other),
        }
    }

    /// The same in one line.
    fn detectable_line(&mut self, number: usize) -> Shaped {
        let word = self.alphanumeric(24);
        match number % 18 {
            2 => Shaped::within("GitHub", "cloning with ", &format!("ghp_{}", self.alphanumeric(36)), " ok"),
            3 => {
                let token = format!("xoxb-{}-{}", self.of(b"0123456789", 12), self.alphanumeric(24));
                Shaped::within("Slack", "notify ", &token, "")
            }
            4 => Shaped::within("GCP", "key AIza", &self.alphanumeric(35), ""),
            5 => {
                let claims = json!({"sub": self.alphanumeric(12), "jti": self.alphanumeric(16)}).to_string();
                let rest =
                    format!("{}.{}", URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(self.bytes(64)));
                let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
                Shaped::within("JWT", &format!("id_token {header}."), &rest, " issued")
            }
            6 => Shaped::within("connection string", "postgres://shop:", &word, "@db.example.test:5432/shop"),
            7 => Shaped::within("bearer", "Authorization: Bearer ", &self.alphanumeric(40), ""),
            8 => {
                let basic = STANDARD.encode(format!("shop:{word}"));
                Shaped::within("basic", "Authorization: Basic c2hvcDp", &basic[11..], "")
            }
            9 => Shaped::within("JSON assignment", r#"{"level":"info","password":""#, &word, r#"","try":1}"#),
            10 => Shaped::within("shell assignment", "export DB_PASSWORD='", &word, "'"),
            11 => Shaped::within("YAML assignment", "password: ", &word, ""),
            12 => Shaped::within("property", "spring.datasource.password=", &word, ""),
            13 => Shaped::within("API key", "api_key=", &self.hex(40), "&page=2"),
            14 => Shaped::within("GitLab", "remote glpat-", &self.alphanumeric(20), ""),
            15 => Shaped::within("Stripe", "charged by sk_live_", &self.alphanumeric(24), ""),
            16 => Shaped::within("Redis", "redis://:", &word, "@cache.example.test:6379/0"),
            17 => {
                Shaped::within("npm", "//registry.example.test/:_authToken=npm_", &self.alphanumeric(36), "")
            }
            _ => Shaped::within("assignment", "password=", &word, " retries=3"),
        }
    }

    fn typed(&mut self, number: usize) -> Shaped {
        match number {
            0 | 1 => self.detectable(0),
            2 => {
                let auth = STANDARD.encode(format!("shop:{}", self.alphanumeric(20)));
                let value = json!({"auths": {"registry.example.test": {"auth": auth}}}).to_string();
                let at = value.find(&auth).unwrap_or_default();
                Shaped { shape: "registry", secret: vec![at..at + auth.len()], value: value.into_bytes() }
            }
            3 => self.word(12),
            4 => {
                Shaped::within("OpenSSH key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", &self.key_line(), "\n")
            }
            5 => self.detectable_line(5),
            _ => self.word(16),
        }
    }

    fn large(&mut self, number: usize) -> Shaped {
        match number {
            0 => Shaped::whole("large text", self.alphanumeric(120_000)),
            1 => Shaped::whole("large binary", self.bytes(150_000)),
            _ => {
                let lines: Vec<String> = (0..1600).map(|_| self.key_line()).collect();
                Shaped::whole("large, of lines", lines.join("\n"))
            }
        }
    }

    /// As Helm stores releases: base64 of gzip of JSON. Its first bytes are gzip's and those of any.
    fn release(&mut self) -> Shaped {
        let config = json!({"database": {"password": self.alphanumeric(30)}, "token": self.hex(200)});
        let release = json!({"config": config, "name": "shop", "version": 1}).to_string();
        let value = STANDARD.encode(packed(release.as_bytes()));
        Shaped { shape: "Helm release", secret: vec![80..value.len() - 12], value: value.into_bytes() }
    }

    fn certificate_request(&mut self) -> Shaped {
        let body: Vec<String> = (0..5).map(|_| self.key_line()).collect();
        let before = "-----BEGIN CERTIFICATE REQUEST-----\n";
        Shaped::within("PKCS #10", before, &body.join("\n"), "\n-----END CERTIFICATE REQUEST-----\n")
    }

    /// 64 characters of base64.
    fn key_line(&mut self) -> String {
        STANDARD.encode(self.bytes(48))
    }
}

impl Planted {
    /// The value as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }

    /// The value in base64.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(&self.value)
    }

    /// What it is, for a report.
    pub(crate) fn title(&self) -> String {
        let mut title = format!("{:?}, {}", self.place, self.shape);
        if let Some(range) = self.secret.first() {
            let head = &self.value[range.start..range.end.min(range.start + 12)];
            let _ = write!(title, " ({}…)", head.escape_ascii());
        }
        title
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

#[test]
fn values_are_distinct_and_the_same_in_every_run() {
    let (first, again) = (planted(), planted());
    let mut values: Vec<&[u8]> = first.iter().map(|planted| planted.value.as_slice()).collect();
    assert!(values.iter().zip(&again).all(|(one, other)| **one == other.value));
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), VALUES);
    assert!(first.iter().all(|planted| planted.secret.iter().all(|range| range.len() >= 8)));
}

//! Tokens that begin with letters of their maker's.

use super::alphabet::{ALNUM, Alphabet, BASE64_URL, HEX};
use super::view::{Hold, Secret, Tail, Verdict, View};

/// A kind of token: what it begins with and what follows.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) prefix: Vec<u8>,
    pub(crate) alphabet: Alphabet,
    /// Bytes after the prefix.
    pub(crate) least: usize,
    /// Something that goes on past this is something else.
    pub(crate) most: Option<usize>,
}

const UPPER: Alphabet = Alphabet::of(b"A-Z0-9");
const WORD: Alphabet = Alphabet::of(b"A-Za-z0-9_");
const DOTTED: Alphabet = Alphabet::of(b"A-Za-z0-9_.-");

/// The makers' tokens: the detector's name, prefix, alphabet, least and most bytes after the prefix.
pub(crate) const KNOWN: &[(&str, &str, Alphabet, usize, Option<usize>)] = &[
    ("aws-access-key", "AKIA", UPPER, 16, Some(16)),
    ("aws-access-key", "ASIA", UPPER, 16, Some(16)),
    ("eks-token", "k8s-aws-v1.", BASE64_URL, 20, None),
    ("gcp-key", "AIza", BASE64_URL, 35, None),
    ("gcp-key", "ya29.", DOTTED, 20, None),
    ("gcp-key", "GOCSPX-", BASE64_URL, 28, None),
    ("github", "ghp_", ALNUM, 36, None),
    ("github", "gho_", ALNUM, 36, None),
    ("github", "ghu_", ALNUM, 36, None),
    ("github", "ghs_", WORD, 36, None),
    ("github", "ghr_", ALNUM, 36, None),
    ("github", "github_pat_", WORD, 36, None),
    ("gitlab", "glpat-", DOTTED, 20, None),
    ("gitlab", "gldt-", DOTTED, 20, None),
    ("gitlab", "glrt-", DOTTED, 20, None),
    ("gitlab", "glcbt-", DOTTED, 20, None),
    ("gitlab", "glptt-", DOTTED, 20, None),
    ("gitlab", "glft-", DOTTED, 20, None),
    ("gitlab", "glimt-", DOTTED, 20, None),
    ("gitlab", "glagent-", DOTTED, 20, None),
    ("gitlab", "glsoat-", DOTTED, 20, None),
    ("slack", "xoxb-", BASE64_URL, 20, None),
    ("slack", "xoxp-", BASE64_URL, 20, None),
    ("slack", "xoxa-", BASE64_URL, 20, None),
    ("slack", "xoxr-", BASE64_URL, 20, None),
    ("slack", "xoxs-", BASE64_URL, 20, None),
    ("slack", "xoxe.", DOTTED, 20, None),
    ("slack", "xapp-", BASE64_URL, 20, None),
    ("stripe", "sk_live_", ALNUM, 16, None),
    ("stripe", "sk_test_", ALNUM, 16, None),
    ("stripe", "rk_live_", ALNUM, 16, None),
    ("stripe", "rk_test_", ALNUM, 16, None),
    ("stripe", "whsec_", Alphabet::of(b"A-Za-z0-9+/="), 24, None),
    ("npm", "npm_", ALNUM, 36, None),
    ("pypi", "pypi-", BASE64_URL, 50, None),
    ("rubygems", "rubygems_", HEX, 48, None),
    ("docker", "dckr_pat_", BASE64_URL, 20, None),
    ("digitalocean", "dop_v1_", HEX, 64, None),
    ("digitalocean", "doo_v1_", HEX, 64, None),
    ("digitalocean", "dor_v1_", HEX, 64, None),
    ("vault", "hvs.", BASE64_URL, 24, None),
    ("vault", "hvb.", BASE64_URL, 24, None),
    ("vault", "hvr.", BASE64_URL, 24, None),
    ("sendgrid", "SG.", DOTTED, 60, None),
    ("shopify", "shpat_", Alphabet::of(b"A-Fa-f0-9"), 32, None),
    ("shopify", "shpss_", Alphabet::of(b"A-Fa-f0-9"), 32, None),
    ("shopify", "shpca_", Alphabet::of(b"A-Fa-f0-9"), 32, None),
    ("shopify", "shppa_", Alphabet::of(b"A-Fa-f0-9"), 32, None),
    ("model-api", "sk-ant-", BASE64_URL, 32, None),
    ("model-api", "sk-proj-", BASE64_URL, 32, None),
    ("model-api", "sk-", ALNUM, 40, None),
    ("model-api", "hf_", ALNUM, 30, None),
    ("age", "AGE-SECRET-KEY-1", UPPER, 50, None),
    ("atlassian", "ATATT3", Alphabet::of(b"A-Za-z0-9_=-"), 50, None),
    ("newrelic", "NRAK-", UPPER, 24, None),
    ("openshift", "sha256~", BASE64_URL, 40, None),
];

impl Token {
    pub(crate) fn verify(&self, view: View<'_>, start: usize) -> Verdict {
        if view.inside_word(start) || !view.starts_with(start, &self.prefix, start)? {
            return Ok(None);
        }
        let from = start + self.prefix.len();
        // One step further than it may go tells.
        let run = match self.most {
            Some(most) => view.run_up_to(from, self.alphabet, most + 1),
            None => view.run(from, self.alphabet),
        };
        let length = run.end - from;
        match self.most {
            Some(most) if length > most => Ok(None),
            Some(_) if run.open => Err(Hold(start)),
            // Another alphabet goes on: it was not one of these.
            Some(_) if view.bytes.get(run.end).is_some_and(|&next| ALNUM.contains(next)) => Ok(None),
            _ if length >= self.least => {
                Ok(Some(Secret { start, end: run.end, tail: Tail::Run(self.alphabet) }))
            }
            _ if run.open => Err(Hold(start)),
            _ => Ok(None),
        }
    }
}

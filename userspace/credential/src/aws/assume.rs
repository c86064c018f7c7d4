//! A role session that bears a person's name.

use aws_credential_types::Credentials;
use aws_sdk_sts::{
    Client,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::assume_role::{AssumeRoleError, AssumeRoleOutput},
    types::{PolicyDescriptorType, Tag},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    OnBehalf, Unavailable, Why,
    aws::{names, session::AwsSession, terms::Terms},
    clock::system_time,
    error::{causes, quote},
};

/// Shortest and longest session, in seconds. Longer ones are not given to a role that another role assumes.
const SHORTEST: i64 = 900;
const LONGEST: i64 = 3600;

/// For whom a role is assumed.
#[derive(Clone)]
pub(crate) struct Ask {
    role_arn: String,
    name: String,
    tags: Vec<(&'static str, String)>,
    seconds: i32,
}

/// What came of it.
#[derive(Clone)]
pub(crate) struct Assumed {
    pub(crate) credentials: Credentials,
    pub(crate) expires: Timestamp,
}

impl Ask {
    pub(crate) fn new(role_arn: &str, on_behalf: &OnBehalf<'_>, now: Timestamp) -> Self {
        Self {
            role_arn: role_arn.to_owned(),
            name: names::session_name(on_behalf.subject),
            tags: names::tags(on_behalf),
            seconds: seconds(on_behalf.expires, now),
        }
    }

    /// For messages.
    pub(crate) fn what(&self) -> String {
        format!("assume {} as {}", self.role_arn, self.name)
    }

    pub(crate) async fn send(&self, session: &AwsSession) -> Result<Assumed, Unavailable> {
        let terms = session.terms();
        let mut config = aws_sdk_sts::config::Builder::from(session.config().await);
        if let Some(url) = &terms.sts {
            config = config.endpoint_url(url);
        }
        let answer = self.request(&Client::from_conf(config.build()), terms).await;
        let why = match answer {
            Ok(answer) => match assumed(answer) {
                Some(assumed) => return Ok(assumed),
                None => Why::Unusable("STS answered without credentials".into()),
            },
            Err(error) => why(&error),
        };
        Err(Unavailable { what: self.what(), why })
    }

    async fn request(
        &self,
        client: &Client,
        terms: &Terms,
    ) -> Result<AssumeRoleOutput, SdkError<AssumeRoleError>> {
        // Key and value are there, which is all that building one asks for.
        let tags =
            self.tags.iter().filter_map(|(key, value)| Tag::builder().key(*key).value(value).build().ok());
        let policies = terms.policy_arns.iter().map(|arn| PolicyDescriptorType::builder().arn(arn).build());
        let policies: Vec<_> = policies.collect();
        client
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(&self.name)
            .set_source_identity(terms.source_identity.then(|| self.name.clone()))
            .set_tags(Some(tags.collect()))
            .set_external_id(terms.external_id.clone())
            .set_policy(terms.policy.clone())
            .set_policy_arns((!policies.is_empty()).then_some(policies))
            .duration_seconds(self.seconds)
            .send()
            .await
    }
}

/// What is left of the grant, within what STS allows; the least where there is no grant.
fn seconds(expires: Option<Timestamp>, now: Timestamp) -> i32 {
    let left = expires.map_or(SignedDuration::ZERO, |expires| expires.duration_since(now)).as_secs();
    i32::try_from(left.clamp(SHORTEST, LONGEST)).unwrap_or(900)
}

fn assumed(answer: AssumeRoleOutput) -> Option<Assumed> {
    let given = answer.credentials?;
    let expires = Timestamp::from_second(given.expiration.secs()).ok()?;
    let credentials = Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.session_token),
        Some(system_time(expires)),
        "AssumeRole",
    );
    Some(Assumed { credentials, expires })
}

/// STS's own words where it said something, and never more of an answer than that.
fn why(error: &SdkError<AssumeRoleError>) -> Why {
    match error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) => {
                let message = answer.err().message().map_or_else(|| "no reason given".to_owned(), quote);
                Why::Refused { code: quote(code), message }
            }
            None => no_answer(answer.raw().status().as_u16()),
        },
        SdkError::ResponseError(answer) => no_answer(answer.raw().status().as_u16()),
        SdkError::TimeoutError(_) => Why::Unreachable("STS did not answer in time".into()),
        other => Why::Unreachable(format!("STS was not asked: {}", causes(other))),
    }
}

fn no_answer(status: u16) -> Why {
    Why::Unusable(format!("what answered HTTP {status} in STS's place is not STS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_as_long_as_the_grant_within_bounds() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |seconds| Some(now + SignedDuration::from_secs(seconds));
        for (expires, lasts) in
            [(None, 900), (after(-5), 900), (after(60), 900), (after(1200), 1200), (after(86_400), 3600)]
        {
            assert_eq!(seconds(expires, now), lasts, "{expires:?}");
        }
    }
}

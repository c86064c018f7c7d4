//! Signature Version 4, by AWS' own library.

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableRequest, SigningInstructions, SigningSettings, sign},
    sign::v4::SigningParams,
};
use jiff::Timestamp;

use crate::{clock::system_time, error::causes};

/// Who signs, for what, and when.
pub(crate) struct Scope<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// To the second, which is all that a signature says.
    pub(crate) at: Timestamp,
}

impl Scope<'_> {
    /// What is to be added to the request.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub(crate) fn sign(
        &self,
        request: SignableRequest<'_>,
        settings: SigningSettings,
    ) -> Result<SigningInstructions, String> {
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(system_time(self.at))
            .settings(settings)
            .build()
            .map_err(|error| causes(&error))?;
        let (instructions, _) = sign(request, &params.into()).map_err(|error| causes(&error))?.into_parts();
        Ok(instructions)
    }
}

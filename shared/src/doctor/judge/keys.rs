//! The identity provider's key set, which users' tokens are verified with.

use crate::doctor::facts::KeySet;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;

/// `keys`: none if this function does not know the address.
pub fn keys(keys: Option<&Result<KeySet, ProbeError>>) -> Check {
    const NAME: &str = "keys";
    const MEANING: &str = "`assign-user` can verify no token: nobody gets a slot.";
    match keys {
        None => Check::warning(
            NAME,
            "not checked: JWKS_URL is not set",
            "It may be right or wrong.",
            "Deploy this release's template, which tells `reconcile` the address.",
        ),
        Some(Ok(KeySet::Usable)) => Check::ok(NAME, "the key set has keys for users' tokens"),
        Some(Ok(KeySet::Unusable(reason))) => Check::wrong(
            NAME,
            reason.clone(),
            MEANING,
            "Set JwksUrl to the address of the key set itself (`jwks_uri` in the provider's \
             /.well-known/openid-configuration), and let the provider sign with RS256 or ES256.",
        ),
        Some(Err(error)) => Check::wrong(
            NAME,
            format!("JWKS_URL does not answer: {error}"),
            MEANING,
            "Correct JwksUrl, and see that functions may connect to it.",
        ),
    }
}

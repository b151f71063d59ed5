//! The rehearsal of a launch: `RunInstances` with `DryRun`.

use super::region::not_answered;
use crate::doctor::report::Check;
use crate::host::{HostError, HostErrorKind};

/// What of a launch the operator has to correct.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Not allowed to launch.
    Permission,
    Profile,
    Setting,
    /// EC2 did not say.
    Unclear,
    /// The first choice is out of capacity: not a fault of the settings.
    Capacity,
}

/// Two checks: the launch itself, and the instance profile, whose faults only a launch shows
/// without further permissions. `outcome` is of the region's first choice, which `what` describes;
/// `profile` is the region's.
pub fn launch(what: &str, profile: Option<&str>, outcome: &Result<(), HostError>) -> Vec<Check> {
    let fault = outcome.as_ref().err().map(|error| (fault(error), error));
    let launch = match fault {
        None => Check::ok("launch", format!("EC2 would launch {what}")),
        Some((Fault::Profile, _)) => Check::wrong(
            "launch",
            format!("EC2 would not launch {what}, because of its profile"),
            MEANING,
            "See the check `instance-profile`.",
        ),
        Some((Fault::Permission, error)) => Check::wrong(
            "launch",
            format!("EC2 would not launch {what}: {}", readable(error)),
            MEANING,
            permission_remedy(error),
        ),
        Some((Fault::Setting, error)) => Check::wrong(
            "launch",
            format!("EC2 would not launch {what}: {error}"),
            MEANING,
            setting_remedy(&error.code),
        ),
        Some((Fault::Capacity, error)) => Check::warning(
            "launch",
            format!("EC2 has no capacity for {what} now: {error}"),
            "Passes use the next launch choice meanwhile.",
            "Nothing, if it is rare; otherwise put another choice first.",
        ),
        Some((Fault::Unclear, error)) => not_answered("launch", error),
    };
    vec![launch, instance_profile(profile, fault)]
}

const MEANING: &str = "Passes cannot launch it either: the region gets its instances by later choices \
                       or not at all.";

fn fault(error: &HostError) -> Fault {
    let of_profile = error.message.to_lowercase().contains("iaminstanceprofile")
        || error.message.contains("Instance Profile")
        || action(error) == Some("iam:PassRole");
    match error.kind {
        HostErrorKind::Denied | HostErrorKind::Invalid if of_profile => Fault::Profile,
        HostErrorKind::Denied => Fault::Permission,
        HostErrorKind::Capacity => Fault::Capacity,
        HostErrorKind::Unclear | HostErrorKind::LeaseTooShort => Fault::Unclear,
        _ if error.code.contains("ServiceLinkedRole") => Fault::Permission,
        _ => Fault::Setting,
    }
}

fn instance_profile(profile: Option<&str>, fault: Option<(Fault, &HostError)>) -> Check {
    const NAME: &str = "instance-profile";
    let Some(profile) = profile else {
        return Check::ok(NAME, "none named");
    };
    match fault {
        None => Check::ok(NAME, format!("{profile} can be given to instances")),
        Some((Fault::Profile, error)) if error.kind == HostErrorKind::Denied => Check::wrong(
            NAME,
            format!(
                "the functions may not give instances {profile}: {}",
                readable(error)
            ),
            MEANING,
            "Deploy with the ARN of the role inside the profile as InstanceRoleArn.",
        ),
        Some((Fault::Profile, error)) => Check::wrong(
            NAME,
            format!("{profile}: {error}"),
            MEANING,
            "Correct regions.instance_profile: the name or ARN of an instance profile of this \
             account, not of its role.",
        ),
        Some(_) => Check::warning(
            NAME,
            format!("{profile} was not checked: the launch failed for another reason"),
            "It may be right or wrong.",
            "Correct what the check `launch` names, and run doctor again.",
        ),
    }
}

fn setting_remedy(code: &str) -> &'static str {
    match code {
        code if code.starts_with("InvalidAMIID") => "See the check `image`.",
        code if code.starts_with("InvalidSubnet") => "See the check `subnets`.",
        code if code.starts_with("InvalidGroup") || code.starts_with("InvalidSecurityGroup") => {
            "See the check `security-groups`."
        }
        "Unsupported" => {
            "The zone of the subnet does not offer this instance type, or the type does not support \
             what is requested: name another subnet or type in regions.launch_choices."
        }
        "InvalidKMSKey.InvalidState" => "Enable the key that encrypts the image's volumes.",
        code if code.starts_with("InvalidUserData") => "Correct regions.user_data_template.",
        _ => "Correct the column of `regions` that the message names.",
    }
}

/// EC2 says which action it refuses, on what, and the rest in an encoded message.
fn permission_remedy(error: &HostError) -> String {
    let decode = match encoded(error) {
        Some(message) => format!(
            " All of it says: aws sts decode-authorization-message --encoded-message {message}"
        ),
        None => String::new(),
    };
    let first = match action(error) {
        _ if error.code.contains("ServiceLinkedRole") => {
            "Create spot's role: aws iam create-service-linked-role --aws-service-name \
             spot.amazonaws.com."
        }
        _ if error.code == "OptInRequired" || error.code == "PendingVerification" => {
            "Subscribe this account to EC2, or wait until AWS has verified it."
        }
        _ if error.code == "AuthFailure" => {
            "Enable this AWS region for the account, or correct the region's name in `regions`."
        }
        Some(action) if action.starts_with("kms:") => {
            "Allow the functions' role to use the key of the image's volumes."
        }
        _ => {
            "Deploy this release's template. If the role allows it, a service control policy or a \
             permissions boundary refuses it."
        }
    };
    format!("{first}{decode}")
}

const NOT_AUTHORIZED: &str = "is not authorized to perform: ";
const ENCODED: &str = "Encoded authorization failure message: ";

/// The action that EC2 refuses, such as `iam:PassRole`.
fn action(error: &HostError) -> Option<&str> {
    let (_, rest) = error.message.split_once(NOT_AUTHORIZED)?;
    rest.split_whitespace().next()
}

fn encoded(error: &HostError) -> Option<&str> {
    let (_, rest) = error.message.split_once(ENCODED)?;
    rest.split_whitespace().next()
}

/// The error without its encoded part, which nobody can read.
fn readable(error: &HostError) -> String {
    let message = match error.message.split_once(ENCODED) {
        Some((before, _)) => before.trim_end(),
        None => &error.message,
    };
    format!("{message} ({})", error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str) -> HostError {
        HostError {
            kind: HostErrorKind::Denied,
            operation: "rehearse a launch",
            code: "UnauthorizedOperation".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn refused_action_is_read_and_the_encoded_part_goes_into_the_remedy() {
        let error = denied(
            "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/x \
             is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:::instance/* \
             because no identity-based policy allows it. Encoded authorization failure message: \
             AbC-12_",
        );
        assert_eq!(action(&error), Some("ec2:RunInstances"));
        let checks = launch("m6i.large", None, &Err(error));
        assert!(!checks[0].finding.contains("AbC-12_"), "{checks:?}");
        assert!(checks[0].finding.contains("ec2:RunInstances"), "{checks:?}");
        assert!(checks[0].remedy.ends_with("--encoded-message AbC-12_"));
    }
}

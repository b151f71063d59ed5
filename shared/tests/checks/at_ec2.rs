//! Regions, images, networks, rehearsals, the spot role and quotas.

use shared::db::DbError;
use shared::doctor::Verdict::{self, Ok as Fine, Warning, Wrong};
use shared::doctor::facts::{Group, Image, InstanceType, Subnet};
use shared::doctor::judge::{self, Chosen};
use shared::doctor::ports::ProbeError;
use shared::host::{HostError, HostErrorKind};
use shared::model::{self, ImageState};
use shared::settings::{AddressSource, LaunchChoice, Selector};
use testing::image;

use crate::{assert_check, named};

fn choice(instance_type: &str) -> LaunchChoice {
    LaunchChoice {
        spot: false,
        instance_type: instance_type.to_owned(),
        capacity: 2,
        subnet: Selector::Id("subnet-1".to_owned()),
    }
}

fn error(kind: HostErrorKind, code: &str, message: &str) -> HostError {
    HostError {
        kind,
        operation: "rehearse a launch",
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn throttled<T>() -> Result<T, HostError> {
    Err(error(
        HostErrorKind::Unclear,
        "RequestLimitExceeded",
        "slow down",
    ))
}

#[test]
fn stack_without_regions_is_wrong() {
    let down = DbError::Unavailable {
        operation: "list regions",
        reason: "connection refused".to_owned(),
    };
    for (regions, verdict, says) in [
        (Ok(vec!["us-east-1".into()]), Fine, "us-east-1"),
        (Ok(vec![]), Wrong, "Insert a row into `regions`"),
        (Err(down), Wrong, "HasuraUrl"),
    ] {
        assert_check(&judge::regions(&regions), verdict, says);
    }
}

#[test]
fn app_version_must_have_an_image() {
    let images = |state| vec![image("ami-1", state)];
    let sha = images(ImageState::Current)[0].client_sha.clone();
    let typo = "typo".into();
    for (app, images, verdict, says) in [
        (Some(&sha), images(ImageState::Current), Fine, "ami-1"),
        (Some(&sha), images(ImageState::Warming), Fine, "WARMING"),
        (Some(&sha), images(ImageState::Retired), Wrong, "COMMIT"),
        (
            Some(&typo),
            images(ImageState::Current),
            Wrong,
            "app_versions.client_sha",
        ),
        (None, images(ImageState::Current), Warning, "app_versions"),
    ] {
        let check = judge::app_version(app, &images);
        let says = if says == "COMMIT" {
            "request an image"
        } else {
            says
        };
        assert_check(&check, verdict, says);
    }
}

#[test]
fn launch_uses_the_current_image_or_else_the_warming_one() {
    let of = |states: &[ImageState]| {
        let images: Vec<model::Image> = states.iter().map(|state| image("ami-1", *state)).collect();
        judge::image_to_launch(&images).map(|image| image.state)
    };
    use ImageState::{Baking, Current, Failed, Warming};
    assert_eq!(of(&[Warming, Baking, Current]), Some(Current));
    assert_eq!(of(&[Baking, Warming]), Some(Warming));
    assert_eq!(of(&[Baking, Failed]), None);
}

#[test]
fn image_must_be_there_and_run_on_every_type() {
    let found = |state: &str| {
        let (state, architecture) = (state.to_owned(), "x86_64".to_owned());
        Ok(Some(Image {
            state,
            architecture,
        }))
    };
    let kind = |name: &str, architecture: &str| InstanceType {
        name: name.to_owned(),
        architectures: vec![architecture.to_owned()],
        vcpus: 2,
    };
    let id = "ami-1".into();
    let choices = [choice("m6i.large"), choice("m7g.large")];
    let both = |second| Ok(vec![kind("m6i.large", "x86_64"), kind("m7g.large", second)]);
    for (id, image, types, verdict, says) in [
        (
            Some(&id),
            found("available"),
            both("x86_64"),
            Fine,
            "for x86_64",
        ),
        (
            Some(&id),
            found("pending"),
            both("x86_64"),
            Wrong,
            "is pending",
        ),
        (Some(&id), Ok(None), both("x86_64"), Wrong, "Copy the image"),
        (None, Ok(None), both("x86_64"), Wrong, "CURRENT"),
        (
            Some(&id),
            found("available"),
            both("arm64"),
            Wrong,
            "m7g.large runs arm64",
        ),
        (
            Some(&id),
            found("available"),
            Ok(vec![kind("m6i.large", "x86_64")]),
            Wrong,
            "no instance type m7g.large",
        ),
        (
            Some(&id),
            throttled(),
            both("x86_64"),
            Warning,
            "RequestLimitExceeded",
        ),
        (
            Some(&id),
            found("available"),
            throttled(),
            Warning,
            "RequestLimitExceeded",
        ),
    ] {
        assert_check(&judge::image(id, &image, &types, &choices), verdict, says);
    }
}

type Found = Result<Vec<Subnet>, HostError>;

fn subnets(free_addresses: u32) -> Found {
    let (id, vpc) = ("subnet-1".to_owned(), "vpc-1".to_owned());
    Ok(vec![Subnet {
        id,
        vpc,
        assigns_public_addresses: free_addresses > 5,
        free_addresses,
    }])
}

fn groups(vpc: &str) -> Result<Vec<Group>, HostError> {
    let (id, vpc) = ("sg-1".to_owned(), vpc.to_owned());
    Ok(vec![Group { id, vpc }])
}

fn network(
    found: Result<Vec<Subnet>, HostError>,
    groups: &Result<Vec<Group>, HostError>,
) -> Vec<shared::doctor::Check> {
    let choice = choice("m6i.large");
    let chosen = Chosen {
        choice: &choice,
        subnets: found,
    };
    judge::network(&[chosen], groups, true)
}

#[test]
fn subnets_must_be_there_with_room() {
    let gone = |code| Err(error(HostErrorKind::Invalid, code, "there is none"));
    let cases: [(Found, Verdict, &str); 5] = [
        (subnets(5), Fine, "1 launch choices"),
        (subnets(0), Warning, "without a free address: subnet-1"),
        (gone("InvalidSubnetID.NotFound"), Wrong, "`subnet_id`"),
        (gone("nothing found"), Wrong, "`subnet_tag`"),
        (throttled(), Warning, "RequestLimitExceeded"),
    ];
    for (found, verdict, says) in cases {
        let checks = network(found, &groups("vpc-1"));
        assert_check(named(&checks, "subnets"), verdict, says);
    }
    let none = judge::network(&[], &groups("vpc-1"), true);
    assert_check(named(&none, "subnets"), Wrong, "regions.launch_choices");
}

#[test]
fn subnets_of_regions_with_public_addresses_assign_them() {
    let of = |source: AddressSource, free_addresses| {
        let choice = choice("m6i.large");
        let chosen = Chosen {
            choice: &choice,
            subnets: subnets(free_addresses),
        };
        judge::public_addresses(&source, &[chosen])
    };
    assert_eq!(of(AddressSource::Private, 5), None);
    let check = of(AddressSource::Public, 6).unwrap();
    assert_check(&check, Fine, "assign them");
    let check = of(AddressSource::Public, 5).unwrap();
    assert_check(&check, Warning, "subnet-1");
}

#[test]
fn groups_must_be_of_the_network_of_the_subnets() {
    let gone = Err(error(
        HostErrorKind::Gone,
        "InvalidGroup.NotFound",
        "there is none",
    ));
    for (groups, verdict, says) in [
        (groups("vpc-1"), Fine, "1 there"),
        (groups("vpc-2"), Wrong, "sg-1 is of vpc-2"),
        (gone, Wrong, "regions.security_groups"),
        (throttled(), Warning, "RequestLimitExceeded"),
    ] {
        let checks = network(subnets(5), &groups);
        assert_check(named(&checks, "security-groups"), verdict, says);
    }
    let unnamed = judge::network(&[], &Ok(Vec::new()), false);
    assert_check(named(&unnamed, "security-groups"), Fine, "default group");
}

const PASS_ROLE: &str = "User: x is not authorized to perform: iam:PassRole on resource: y. Encoded \
                         authorization failure message: abc";

#[test]
fn rehearsal_says_which_setting_or_permission_stops_a_launch() {
    use HostErrorKind::{Capacity, Denied, Invalid};
    let launch = [
        (
            error(Denied, "UnauthorizedOperation", "no"),
            Wrong,
            "this release's template",
        ),
        (
            error(Denied, "AuthFailure", "not validated"),
            Wrong,
            "Enable this AWS region",
        ),
        (
            error(
                Invalid,
                "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                "no",
            ),
            Wrong,
            "create-service-linked-role",
        ),
        (
            error(Invalid, "InvalidSubnetID.NotFound", "gone"),
            Wrong,
            "check `subnets`",
        ),
        (
            error(Invalid, "InvalidAMIID.NotFound", "gone"),
            Wrong,
            "check `image`",
        ),
        (
            error(Invalid, "Unsupported", "not in this zone"),
            Wrong,
            "another subnet or type",
        ),
        (
            error(Invalid, "InvalidParameterValue", "strange"),
            Wrong,
            "strange",
        ),
        (
            error(Capacity, "InsufficientInstanceCapacity", "none"),
            Warning,
            "no capacity",
        ),
        (
            error(HostErrorKind::Unclear, "Throttling", "slow"),
            Warning,
            "Throttling",
        ),
        (
            error(Denied, "UnauthorizedOperation", PASS_ROLE),
            Wrong,
            "check `instance-profile`",
        ),
    ];
    for (error, verdict, says) in launch {
        let checks = judge::launch("m6i.large", None, &Err(error));
        assert_check(named(&checks, "launch"), verdict, says);
    }
    let checks = judge::launch("m6i.large", None, &Ok(()));
    assert_check(named(&checks, "launch"), Fine, "would launch m6i.large");
}

#[test]
fn rehearsal_tells_faults_of_the_profile_from_others() {
    use HostErrorKind::{Denied, Invalid};
    let unknown = "Value (host) for parameter iamInstanceProfile.name is invalid. Invalid IAM \
                   Instance Profile name";
    for (outcome, verdict, says) in [
        (Ok(()), Fine, "host can be given"),
        (
            Err(error(Invalid, "InvalidParameterValue", unknown)),
            Wrong,
            "regions.instance_profile",
        ),
        (
            Err(error(Denied, "UnauthorizedOperation", PASS_ROLE)),
            Wrong,
            "InstanceRoleArn",
        ),
        (
            Err(error(Invalid, "InvalidAMIID.NotFound", "gone")),
            Warning,
            "was not checked",
        ),
    ] {
        let checks = judge::launch("m6i.large", Some("host"), &outcome);
        assert_check(named(&checks, "instance-profile"), verdict, says);
    }
}

#[test]
fn spot_role_is_needed_by_spot_only() {
    let denied = Err(ProbeError::Denied("AccessDenied".to_owned()));
    for (role, verdict, says) in [
        (None, Fine, "not needed"),
        (Some(Ok(true)), Fine, "AWSServiceRoleForEC2Spot"),
        (
            Some(Ok(false)),
            Wrong,
            "--aws-service-name spot.amazonaws.com",
        ),
        (Some(denied), Warning, "iam:GetRole"),
    ] {
        assert_check(&judge::spot_role(role.as_ref()), verdict, says);
    }
}

#[test]
fn maximum_must_fit_into_the_quota() {
    let denied = Err(ProbeError::Denied("AccessDenied".to_owned()));
    for (vcpus, value, verdict, says) in [
        (Some(2), Some(Ok(20.0)), Fine, "need 20 vCPUs"),
        (Some(2), Some(Ok(19.0)), Warning, "VcpuLimit"),
        (
            Some(2),
            Some(denied),
            Warning,
            "servicequotas:GetServiceQuota",
        ),
        (None, Some(Ok(20.0)), Warning, "Service Quotas"),
        (Some(2), None, Warning, "Service Quotas"),
    ] {
        let check = judge::quota("m6i.large", 10, vcpus, value.as_ref());
        let says = if says == "VcpuLimit" {
            "request-service-quota-increase"
        } else {
            says
        };
        assert_check(&check, verdict, says);
    }
}

//! `RunInstances`.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::call::{ApiResult, Call};
use super::ids::{IMAGE, SECURITY_GROUP, SUBNET};
use super::{instance_xml, market_options, metadata_options, tags};
use crate::error::ApiError;
use crate::params::Params;
use crate::world::{
    InstanceType, InstanceView, LaunchRequest, LaunchSpec, ShutdownBehavior, Tags, World,
};
use crate::xml::Xml;

/// EC2's limit on user data, in bytes before the base64 encoding.
const MAX_USER_DATA: usize = 16 * 1024;
/// EC2's limit on client tokens, in ASCII characters:
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>.
const MAX_CLIENT_TOKEN: usize = 64;
/// Resources other than the instance that a launch creates. Their tags are accepted but not kept.
const OTHER_TAGGED: [&str; 4] = [
    "volume",
    "network-interface",
    "spot-instances-request",
    "elastic-gpu",
];

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let fingerprint = fingerprint(&call.params);
    let spec = take_spec(&mut call)?;
    let (min_count, max_count) = take_counts(&mut call.params)?;
    let tags = take_instance_tags(&mut call.params)?;
    let dry_run = call.finish_except_dry_run()?;
    let request = LaunchRequest {
        spec,
        tags,
        min_count,
        max_count,
        fingerprint,
        dry_run,
    };
    let ids = call.world.launch(call.region, &request, call.now)?;
    let region = call.region()?;
    let views: Vec<InstanceView<'_>> = ids
        .iter()
        .filter_map(|id| InstanceView::of(region.instance(id)?, call.now))
        .collect();
    let mut xml = Xml::default();
    instance_xml::reservation(&mut xml, &views);
    Ok(xml)
}

/// A hash of the parameters that a client token is bound to.
fn fingerprint(params: &Params) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in params.as_map() {
        if !matches!(name.as_str(), "ClientToken" | "DryRun") {
            (name, value).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn take_spec(call: &mut Call<'_>) -> Result<LaunchSpec, ApiError> {
    let params = &mut call.params;
    let image_id = params.required("ImageId")?;
    IMAGE.check_form(std::slice::from_ref(&image_id))?;
    let subnet_id = params.optional("SubnetId");
    SUBNET.check_form(subnet_id.as_slice())?;
    let group_ids = params.list("SecurityGroupId")?;
    SECURITY_GROUP.check_form(&group_ids)?;
    Ok(LaunchSpec {
        image_id,
        market: market_options::take(params)?,
        instance_type: take_instance_type(params)?,
        subnet_id,
        group_ids,
        profile_arn: take_profile(params, call.world)?,
        user_data: take_user_data(params)?,
        ebs_optimized: params.flag("EbsOptimized")?,
        monitoring: take_monitoring(params)?,
        metadata_options: metadata_options::take(params)?,
        key_name: params.optional("KeyName"),
        shutdown_behavior: take_shutdown_behavior(params)?,
        client_token: take_client_token(params)?,
    })
}

fn take_counts(params: &mut Params) -> Result<(u32, u32), ApiError> {
    let min: u32 = params
        .number("MinCount")?
        .ok_or_else(|| ApiError::missing_parameter("MinCount"))?;
    let max: u32 = params
        .number("MaxCount")?
        .ok_or_else(|| ApiError::missing_parameter("MaxCount"))?;
    if min == 0 {
        return Err(ApiError::invalid_value(
            "minCount",
            "0",
            "Minimum value is 1.",
        ));
    }
    if min > max {
        let expected = format!("It must not be greater than maxCount ({max}).");
        return Err(ApiError::invalid_value(
            "minCount",
            &min.to_string(),
            &expected,
        ));
    }
    Ok((min, max))
}

fn take_instance_type(params: &mut Params) -> Result<String, ApiError> {
    let name = params.required("InstanceType")?;
    if InstanceType::named(&name).is_some() {
        Ok(name)
    } else {
        Err(ApiError::client(
            "InvalidParameterValue",
            format!("Invalid value '{name}' for InstanceType."),
        ))
    }
}

fn take_profile(params: &mut Params, world: &World) -> Result<Option<String>, ApiError> {
    let mut profile = params.structure("IamInstanceProfile");
    let (arn, name) = (profile.optional("Arn"), profile.optional("Name"));
    profile.finish()?;
    let invalid = |field: &str, value: &str, what: &str| {
        let expected = format!("Invalid IAM Instance Profile {what}");
        Err(ApiError::invalid_value(
            &format!("iamInstanceProfile.{field}"),
            value,
            &expected,
        ))
    };
    let exists = |name: &str| {
        world
            .instance_profiles()
            .is_none_or(|known| known.iter().any(|known| known == name))
    };
    match (arn, name) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "The parameter 'iamInstanceProfile.name' may not be used in combination with \
             'iamInstanceProfile.arn'",
        )),
        (None, Some(name)) if exists(&name) => Ok(Some(format!(
            "arn:aws:iam::{}:instance-profile/{name}",
            world.account_id()
        ))),
        (None, Some(name)) => invalid("name", &name, "name"),
        (Some(arn), None) => {
            let name = arn
                .strip_prefix("arn:aws:iam::")
                .and_then(|rest| rest.split_once(":instance-profile/"))
                .and_then(|(_, path)| path.rsplit('/').next());
            match name {
                Some(name) if exists(name) => Ok(Some(arn)),
                _ => invalid("arn", &arn, "ARN"),
            }
        }
    }
}

fn take_user_data(params: &mut Params) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(encoded) = params.optional("UserData") else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(&encoded).map_err(|_| {
        ApiError::client(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if decoded.len() > MAX_USER_DATA {
        let message = format!("User data is limited to {MAX_USER_DATA} bytes");
        return Err(ApiError::client("InvalidParameterValue", message));
    }
    Ok(Some(decoded))
}

fn take_monitoring(params: &mut Params) -> Result<bool, ApiError> {
    let mut monitoring = params.structure("Monitoring");
    let enabled = monitoring.flag("Enabled")?;
    monitoring.finish()?;
    Ok(enabled)
}

fn take_shutdown_behavior(params: &mut Params) -> Result<ShutdownBehavior, ApiError> {
    match params
        .optional("InstanceInitiatedShutdownBehavior")
        .as_deref()
    {
        None => Ok(ShutdownBehavior::default()),
        Some("stop") => Ok(ShutdownBehavior::Stop),
        Some("terminate") => Ok(ShutdownBehavior::Terminate),
        Some(other) => Err(ApiError::invalid_value(
            "instanceInitiatedShutdownBehavior",
            other,
            "Expecting \"stop\" or \"terminate\".",
        )),
    }
}

fn take_client_token(params: &mut Params) -> Result<Option<String>, ApiError> {
    let token = params.optional("ClientToken");
    match &token {
        Some(text) if text.len() > MAX_CLIENT_TOKEN || !text.is_ascii() => {
            let expected = format!("Expecting at most {MAX_CLIENT_TOKEN} ASCII characters.");
            Err(ApiError::invalid_value("clientToken", text, &expected))
        }
        _ => Ok(token),
    }
}

fn take_instance_tags(params: &mut Params) -> Result<Tags, ApiError> {
    let mut instance_tags = None;
    for mut specification in params.members("TagSpecification")? {
        let resource = specification.required("ResourceType")?;
        let tags = tags::take(&mut specification)?;
        specification.finish()?;
        if tags.is_empty() {
            return Err(ApiError::client(
                "InvalidParameterValue",
                format!("Tag specification must have at least one tag: {resource}"),
            ));
        }
        if resource == "instance" {
            if instance_tags.replace(tags).is_some() {
                return Err(ApiError::client(
                    "InvalidParameterValue",
                    "Multiple tag specifications found for the same resource type: instance",
                ));
            }
        } else if !OTHER_TAGGED.contains(&resource.as_str()) {
            return Err(ApiError::client(
                "InvalidParameterValue",
                format!("'{resource}' is not a valid taggable resource type for this operation."),
            ));
        }
    }
    Ok(instance_tags.unwrap_or_default())
}

//! `MetadataOptions` of a launch. They are stored and shown but have no effect: the emulator has no
//! metadata service.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsRequest.html>

use crate::error::ApiError;
use crate::params::Params;
use crate::world::{HttpTokens, MetadataOptions, Switch};

pub(super) fn take(params: &mut Params) -> Result<MetadataOptions, ApiError> {
    let mut given = params.structure("MetadataOptions");
    let mut options = MetadataOptions::default();
    for (name, option) in [
        ("HttpEndpoint", &mut options.http_endpoint),
        ("HttpProtocolIpv6", &mut options.http_protocol_ipv6),
        ("InstanceMetadataTags", &mut options.instance_metadata_tags),
    ] {
        *option = match given.optional(name).as_deref() {
            None => *option,
            Some("enabled") => Switch::Enabled,
            Some("disabled") => Switch::Disabled,
            Some(other) => return Err(invalid_choice(name, other, ["enabled", "disabled"])),
        };
    }
    options.http_tokens = match given.optional("HttpTokens").as_deref() {
        None => options.http_tokens,
        Some("optional") => HttpTokens::Optional,
        Some("required") => HttpTokens::Required,
        Some(other) => {
            return Err(invalid_choice(
                "HttpTokens",
                other,
                ["optional", "required"],
            ));
        }
    };
    if let Some(hops) = given.number::<u32>("HttpPutResponseHopLimit")? {
        if !(1..=64).contains(&hops) {
            return Err(ApiError::invalid_value(
                "httpPutResponseHopLimit",
                &hops.to_string(),
                "Expecting an integer from 1 to 64.",
            ));
        }
        options.http_put_response_hop_limit = hops;
    }
    given.finish()?;
    Ok(options)
}

fn invalid_choice(name: &str, value: &str, [one, other]: [&str; 2]) -> ApiError {
    ApiError::client(
        "InvalidParameterValue",
        format!(
            "A value of '{value}' is not valid for {name}. Specify either '{one}' or '{other}' \
             and try again."
        ),
    )
}

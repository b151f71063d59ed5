//! The options of an instance's metadata service.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataOptions {
    pub http_endpoint: Switch,
    pub http_tokens: HttpTokens,
    pub http_put_response_hop_limit: u32,
    pub http_protocol_ipv6: Switch,
    pub instance_metadata_tags: Switch,
}

impl Default for MetadataOptions {
    /// EC2's defaults for an image that sets none.
    fn default() -> Self {
        Self {
            http_endpoint: Switch::Enabled,
            http_tokens: HttpTokens::Optional,
            http_put_response_hop_limit: 1,
            http_protocol_ipv6: Switch::Disabled,
            instance_metadata_tags: Switch::Disabled,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    Enabled,
    Disabled,
}

impl Switch {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// Whether requests to the metadata service need a session token, as in IMDSv2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpTokens {
    Optional,
    Required,
}

impl HttpTokens {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

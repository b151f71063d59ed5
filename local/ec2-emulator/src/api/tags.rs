//! `Tag.N` structures, and EC2's rules for tags:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.

use crate::error::ApiError;
use crate::params::Params;
use crate::world::Tags;

/// The maximum number of tags of one resource.
pub(super) const MAX_TAGS: usize = 50;
/// In characters.
const MAX_KEY: usize = 128;
/// In characters.
const MAX_VALUE: usize = 256;

/// Reads the tags of a request, or of a structure in it.
pub(super) fn take(params: &mut Params) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for mut member in params.members("Tag")? {
        let key = member.required("Key")?;
        let value = member.optional("Value").unwrap_or_default();
        member.finish()?;
        check(&key, &value)?;
        if tags.contains_key(&key) {
            return Err(ApiError::client(
                "InvalidParameterValue",
                format!("Duplicate tag key '{key}' specified."),
            ));
        }
        tags.insert(key, value);
    }
    if tags.len() > MAX_TAGS {
        return Err(too_many());
    }
    Ok(tags)
}

pub(super) fn too_many() -> ApiError {
    ApiError::client(
        "TagLimitExceeded",
        format!("The maximum number of tags for a resource has been reached ({MAX_TAGS})."),
    )
}

fn check(key: &str, value: &str) -> Result<(), ApiError> {
    let message = if key.starts_with("aws:") {
        "Tag keys starting with 'aws:' are reserved for internal use".to_owned()
    } else if key.chars().count() > MAX_KEY {
        format!("Tag key exceeds the maximum length of {MAX_KEY} characters: {key}")
    } else if value.chars().count() > MAX_VALUE {
        format!("Tag value exceeds the maximum length of {MAX_VALUE} characters: {key}")
    } else {
        return Ok(());
    };
    Err(ApiError::client("InvalidParameterValue", message))
}

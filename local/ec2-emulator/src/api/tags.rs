//! `Tag.N` structures, and EC2's rules for tags.

use crate::error::ApiError;
use crate::params::Params;
use crate::world::Tags;

/// The most tags on one resource.
pub(super) const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Takes the tags of a request, or of a structure in it.
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
    let problem = if key.starts_with("aws:") {
        "Tag keys starting with 'aws:' are reserved for internal use".to_owned()
    } else if key.chars().count() > MAX_KEY {
        format!("Tag key exceeds the maximum length of {MAX_KEY} characters: {key}")
    } else if value.chars().count() > MAX_VALUE {
        format!("Tag value exceeds the maximum length of {MAX_VALUE} characters: {key}")
    } else {
        return Ok(());
    };
    Err(ApiError::client("InvalidParameterValue", problem))
}

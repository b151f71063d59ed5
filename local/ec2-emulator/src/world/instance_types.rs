//! What EC2 knows of an instance type: its architecture and its size. The names tell both, so that
//! there is no table of some thousand types.
//!
//! <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>

use super::file::{Architecture, Image};
use crate::error::ApiError;

/// The series that EC2 has; other names are no types.
const SERIES: [&str; 19] = [
    "a", "c", "d", "dl", "f", "g", "h", "i", "im", "inf", "is", "m", "p", "r", "t", "trn", "vt",
    "x", "z",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    pub name: String,
    pub architecture: Architecture,
    pub vcpus: u32,
}

impl InstanceType {
    /// None for a name that no type has.
    pub fn named(name: &str) -> Option<Self> {
        let (family, size) = name.split_once('.')?;
        let generation = family.find(|c: char| c.is_ascii_digit())?;
        let (series, rest) = family.split_at(generation);
        if !SERIES.contains(&series) {
            return None;
        }
        // The letters after the generation are options: `g` is Graviton, Amazon's ARM processor.
        let options = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_arm = series == "a" || options.contains('g');
        Some(Self {
            name: name.to_owned(),
            architecture: if is_arm {
                Architecture::Arm64
            } else {
                Architecture::X86_64
            },
            vcpus: vcpus(size)?,
        })
    }
}

/// # Errors
/// If the type's processor cannot run the image.
pub(super) fn check_architecture(instance_type: &str, image: &Image) -> Result<(), ApiError> {
    let Some(known) = InstanceType::named(instance_type) else {
        return Ok(());
    };
    if known.architecture == image.architecture {
        return Ok(());
    }
    Err(ApiError::client(
        "InvalidParameterValue",
        format!(
            "The architecture '{}' of the specified instance type does not match the architecture \
             '{}' of the specified AMI. Specify an instance type and an AMI that have matching \
             architectures, and try again. You can use 'describe-instance-types' or \
             'describe-images' to discover the architecture of the instance type or AMI.",
            known.architecture.as_str(),
            image.architecture.as_str()
        ),
    ))
}

fn vcpus(size: &str) -> Option<u32> {
    match size {
        "nano" | "micro" | "small" | "medium" | "large" => Some(2),
        "xlarge" => Some(4),
        "metal" => Some(96),
        size if size.starts_with("metal-") => Some(96),
        _ => {
            let times: u32 = size.strip_suffix("xlarge")?.parse().ok()?;
            (2..=112).contains(&times).then_some(times * 4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_tells_architecture_and_size() {
        for (name, architecture, vcpus) in [
            ("m6i.large", Architecture::X86_64, 2),
            ("m7g.2xlarge", Architecture::Arm64, 8),
            ("g4dn.xlarge", Architecture::X86_64, 4),
            ("g5g.xlarge", Architecture::Arm64, 4),
            ("im4gn.4xlarge", Architecture::Arm64, 16),
            ("a1.metal", Architecture::Arm64, 96),
        ] {
            let found = InstanceType::named(name).unwrap();
            assert_eq!(
                (found.architecture, found.vcpus),
                (architecture, vcpus),
                "{name}"
            );
        }
        for name in [
            "m6i",
            "m6i.huge",
            "q6i.large",
            "6i.large",
            "m6i.1xlarge",
            "",
        ] {
            assert_eq!(InstanceType::named(name), None, "{name}");
        }
    }
}

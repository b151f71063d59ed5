//! Ids in requests: whether they look like ids, and whether they are those of anything.

use crate::error::ApiError;

/// The sort of thing that an id names.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdKind {
    pub(super) prefix: &'static str,
    /// What EC2's error codes for it begin with.
    code: ErrorCodes,
    /// As in "The instance ID 'i-…' does not exist".
    noun: &'static str,
    /// Whether the message has brackets around the ids, as it does for images.
    in_brackets: bool,
}

#[derive(Clone, Copy, Debug)]
struct ErrorCodes {
    malformed: &'static str,
    not_found: &'static str,
}

pub(super) const INSTANCE: IdKind = IdKind {
    prefix: "i-",
    code: ErrorCodes {
        malformed: "InvalidInstanceID.Malformed",
        not_found: "InvalidInstanceID.NotFound",
    },
    noun: "instance ID",
    in_brackets: false,
};

pub(super) const IMAGE: IdKind = IdKind {
    prefix: "ami-",
    code: ErrorCodes {
        malformed: "InvalidAMIID.Malformed",
        not_found: "InvalidAMIID.NotFound",
    },
    noun: "image id",
    in_brackets: true,
};

pub(super) const ADDRESS: IdKind = IdKind {
    prefix: "eipalloc-",
    code: ErrorCodes {
        malformed: "InvalidAllocationID.Malformed",
        not_found: "InvalidAllocationID.NotFound",
    },
    noun: "allocation ID",
    in_brackets: false,
};

pub(super) const SUBNET: IdKind = IdKind {
    prefix: "subnet-",
    code: ErrorCodes {
        malformed: "InvalidSubnetID.Malformed",
        not_found: "InvalidSubnetID.NotFound",
    },
    noun: "subnet ID",
    in_brackets: false,
};

pub(super) const SECURITY_GROUP: IdKind = IdKind {
    prefix: "sg-",
    code: ErrorCodes {
        malformed: "InvalidGroupId.Malformed",
        not_found: "InvalidGroup.NotFound",
    },
    noun: "security group",
    in_brackets: false,
};

impl IdKind {
    /// Fails, naming them all, if some of `ids` do not have the form of an id.
    pub(super) fn check_form(self, ids: &[String]) -> Result<(), ApiError> {
        let bad: Vec<String> = ids
            .iter()
            .filter(|id| !self.is_well_formed(id))
            .map(|id| format!("\"{id}\""))
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        let plural = if bad.len() == 1 { "" } else { "s" };
        Err(ApiError::client(
            self.code.malformed,
            format!(
                "Invalid id{plural}: {} (expecting \"{}...\")",
                bad.join(", "),
                self.prefix
            ),
        ))
    }

    /// The error for ids that nothing has, naming them all.
    pub(super) fn not_found(self, ids: &[String]) -> ApiError {
        let (open, close) = if self.in_brackets {
            ("[", "]")
        } else {
            ("", "")
        };
        let (plural, verb) = if ids.len() == 1 {
            ("", "does")
        } else {
            ("s", "do")
        };
        let (noun, list) = (self.noun, ids.join(", "));
        let message = format!("The {noun}{plural} '{open}{list}{close}' {verb} not exist");
        ApiError::client(self.code.not_found, message)
    }

    /// Fails if `ids` are malformed or some are not known.
    pub(super) fn check_known(
        self,
        ids: &[String],
        is_known: impl Fn(&str) -> bool,
    ) -> Result<(), ApiError> {
        self.check_form(ids)?;
        let unknown: Vec<String> = ids.iter().filter(|id| !is_known(id)).cloned().collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(self.not_found(&unknown))
        }
    }

    fn is_well_formed(self, id: &str) -> bool {
        id.strip_prefix(self.prefix).is_some_and(|rest| {
            matches!(rest.len(), 8 | 17) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }
}

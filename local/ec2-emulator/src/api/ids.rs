//! Checks of the ids in requests: their form, and whether a resource has them.

use crate::error::ApiError;

/// The kind of resource that an id names.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdKind {
    pub(super) prefix: &'static str,
    codes: ErrorCodes,
    /// The words for the kind in EC2's message "The instance ID 'i-…' does not exist".
    noun: &'static str,
    /// Whether the message has brackets around the ids. EC2 writes them for images.
    in_brackets: bool,
}

#[derive(Clone, Copy, Debug)]
struct ErrorCodes {
    malformed: &'static str,
    not_found: &'static str,
}

pub(super) const INSTANCE: IdKind = IdKind {
    prefix: "i-",
    codes: ErrorCodes {
        malformed: "InvalidInstanceID.Malformed",
        not_found: "InvalidInstanceID.NotFound",
    },
    noun: "instance ID",
    in_brackets: false,
};

pub(super) const IMAGE: IdKind = IdKind {
    prefix: "ami-",
    codes: ErrorCodes {
        malformed: "InvalidAMIID.Malformed",
        not_found: "InvalidAMIID.NotFound",
    },
    noun: "image id",
    in_brackets: true,
};

pub(super) const ADDRESS: IdKind = IdKind {
    prefix: "eipalloc-",
    codes: ErrorCodes {
        malformed: "InvalidAllocationID.Malformed",
        not_found: "InvalidAllocationID.NotFound",
    },
    noun: "allocation ID",
    in_brackets: false,
};

pub(super) const SUBNET: IdKind = IdKind {
    prefix: "subnet-",
    codes: ErrorCodes {
        malformed: "InvalidSubnetID.Malformed",
        not_found: "InvalidSubnetID.NotFound",
    },
    noun: "subnet ID",
    in_brackets: false,
};

pub(super) const SECURITY_GROUP: IdKind = IdKind {
    prefix: "sg-",
    codes: ErrorCodes {
        malformed: "InvalidGroupId.Malformed",
        not_found: "InvalidGroup.NotFound",
    },
    noun: "security group",
    in_brackets: false,
};

impl IdKind {
    /// # Errors
    /// If some of `ids` are malformed; the message names all of those.
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
            self.codes.malformed,
            format!(
                "Invalid id{plural}: {} (expecting \"{}...\")",
                bad.join(", "),
                self.prefix
            ),
        ))
    }

    /// The error for ids that no resource has. The message names all of them.
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
        ApiError::client(self.codes.not_found, message)
    }

    /// # Errors
    /// If some of `ids` are malformed, or else if some are unknown.
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

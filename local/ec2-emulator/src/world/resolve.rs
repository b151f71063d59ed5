//! Finds the image, the subnet and the security groups that a launch request names.

use super::file::{Image, ImageState, Subnet};
use super::instance::{Group, LaunchSpec};
use super::region::Region;
use crate::error::ApiError;
use crate::faults::Faults;

pub(super) struct Resolved {
    pub(super) image: Image,
    pub(super) subnet: Subnet,
    pub(super) groups: Vec<Group>,
}

impl Region {
    /// The subnet of a launch: the named one, else the first default subnet in a zone that offers
    /// the instance type.
    pub(super) fn launch_subnet(
        &self,
        spec: &LaunchSpec,
        faults: &Faults,
    ) -> Result<Subnet, ApiError> {
        let found = match spec.subnet_id.as_deref() {
            Some(id) => self.subnet(id).ok_or_else(|| {
                let message = format!("The subnet ID '{id}' does not exist");
                ApiError::client("InvalidSubnetID.NotFound", message)
            }),
            None => {
                let defaults = self.subnets.iter().filter(|it| it.default_for_zone);
                let offers = |it: &&Subnet| self.offers(faults, &spec.instance_type, &it.zone);
                let found = defaults.clone().find(offers);
                found.or_else(|| defaults.clone().next()).ok_or_else(|| {
                    let message = "No subnets found for the default VPC. Please specify a subnet.";
                    ApiError::client("MissingInput", message)
                })
            }
        };
        found.cloned()
    }

    /// Finds the image and the security groups of a launch into `subnet`.
    ///
    /// # Errors
    /// If one of them does not exist, is not available, or belongs to another network.
    pub(super) fn resolve(&self, spec: &LaunchSpec, subnet: Subnet) -> Result<Resolved, ApiError> {
        let image = self.image(&spec.image_id).ok_or_else(|| {
            let message = format!("The image id '[{}]' does not exist", spec.image_id);
            ApiError::client("InvalidAMIID.NotFound", message)
        })?;
        match image.state {
            ImageState::Available => {}
            ImageState::Deregistered => {
                let message = format!("The image ID '{}' is no longer available", image.id);
                return Err(ApiError::client("InvalidAMIID.Unavailable", message));
            }
            ImageState::Pending | ImageState::Failed => {
                let state = image.state.as_str();
                let message = format!("The image ID '{}' is not available: {state}", image.id);
                return Err(ApiError::client("InvalidAMIID.Unavailable", message));
            }
        }
        let groups = if spec.group_ids.is_empty() {
            self.default_group(&subnet).into_iter().collect()
        } else {
            let groups = spec
                .group_ids
                .iter()
                .map(|id| self.group_in_network_of(id, &subnet));
            groups.collect::<Result<_, _>>()?
        };
        Ok(Resolved {
            image: image.clone(),
            subnet,
            groups,
        })
    }

    fn default_group(&self, subnet: &Subnet) -> Option<Group> {
        self.security_groups
            .iter()
            .find(|group| group.vpc_id == subnet.vpc_id && group.name == "default")
            .map(|group| Group {
                id: group.id.clone(),
                name: group.name.clone(),
            })
    }

    fn group_in_network_of(&self, id: &str, subnet: &Subnet) -> Result<Group, ApiError> {
        let group = self.security_group(id).ok_or_else(|| {
            let message = format!("The security group '{id}' does not exist");
            ApiError::client("InvalidGroup.NotFound", message)
        })?;
        if group.vpc_id != subnet.vpc_id {
            return Err(ApiError::client(
                "InvalidParameter",
                format!(
                    "Security group {id} and subnet {} belong to different networks.",
                    subnet.id
                ),
            ));
        }
        Ok(Group {
            id: group.id.clone(),
            name: group.name.clone(),
        })
    }
}

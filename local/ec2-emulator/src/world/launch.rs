//! Launches instances: whether a request gets any, how many, and the client token's idempotency.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>

use std::net::Ipv4Addr;

use super::file::{Subnet, Tags};
use super::ids::pseudo_random;
use super::instance::{Instance, LaunchSpec, State, Transition};
use super::instance_types;
use super::offers;
use super::region::{Region, TokenBinding, TokenKey};
use super::resolve::Resolved;
use super::state::World;
use crate::clock::UnixMillis;
use crate::error::ApiError;
use crate::faults::{AppliesFrom, Pool};
use crate::market::Market;

/// The first public address of an instance. It is in the loopback network, so that the instance's
/// agent is reachable on this machine.
const FIRST_PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
/// How many public addresses there are: up to 127.127.255.255. Later instances reuse them.
const PUBLIC_ADDRESSES: u64 = (1 << 22) - 1;

#[derive(Debug)]
pub struct LaunchRequest {
    pub spec: LaunchSpec,
    pub tags: Tags,
    pub min_count: u32,
    pub max_count: u32,
    /// Hash of all parameters of the request except the client token and `DryRun`.
    pub fingerprint: u64,
    pub dry_run: bool,
}

impl World {
    /// Launches between `min_count` and `max_count` instances, as many as there is capacity for. A
    /// request under a known client token launches nothing and finds its earlier instances.
    ///
    /// Returns the ids of the instances.
    ///
    /// # Errors
    /// EC2's error: for an unknown resource, too little capacity, or a client token that is bound to
    /// other parameters or to a terminated instance. A dry run always ends with an error.
    pub fn launch(
        &mut self,
        region_name: &str,
        request: &LaunchRequest,
        now: UnixMillis,
    ) -> Result<Vec<String>, ApiError> {
        let Some(region) = self.regions.get_mut(region_name) else {
            return Err(ApiError::auth_failure(format!("no region {region_name}")));
        };
        let subnet = region.launch_subnet(&request.spec, &self.faults)?;
        let key = request.spec.client_token.clone().map(|token| TokenKey {
            token,
            zone: request.spec.subnet_id.as_ref().map(|_| subnet.zone.clone()),
        });
        if let Some(key) = &key
            && let Some(ids) = region.launched_under(key, request.fingerprint, now)?
        {
            return if request.dry_run {
                Err(ApiError::dry_run())
            } else {
                Ok(ids)
            };
        }
        let spec = &request.spec;
        let resolved = region.resolve(spec, subnet)?;
        instance_types::check_architecture(&spec.instance_type, &resolved.image)?;
        region.check_offered(&self.faults, &spec.instance_type, &resolved.subnet.zone)?;
        if spec.ebs_optimized {
            offers::check_ebs_optimized(&spec.instance_type)?;
        }
        if request.dry_run {
            return Err(ApiError::dry_run());
        }
        if let Some(key) = key.clone() {
            // The token is bound even if there turns out to be too little capacity.
            let empty = TokenBinding {
                fingerprint: request.fingerprint,
                instance_ids: Vec::new(),
            };
            region.tokens.insert(key, empty);
        }
        let count = self.available_count(region_name, request, &resolved.subnet, now)?;
        let ids = self.create(region_name, request, resolved, count, now);
        if let Some(key) = key
            && let Some(region) = self.regions.get_mut(region_name)
            && let Some(binding) = region.tokens.get_mut(&key)
        {
            binding.instance_ids.clone_from(&ids);
        }
        self.advance(now);
        Ok(ids)
    }

    /// How many instances a request gets; at least its minimum.
    fn available_count(
        &self,
        region: &str,
        request: &LaunchRequest,
        subnet: &Subnet,
        now: UnixMillis,
    ) -> Result<u32, ApiError> {
        let instance_type = &request.spec.instance_type;
        let free = self
            .region(region)
            .map_or(0, |region| region.free_address_count(subnet, now));
        let addresses = u32::try_from(free).unwrap_or(u32::MAX);
        if addresses < request.min_count {
            return Err(ApiError::client(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{}' to satisfy the requested \
                     number of instances.",
                    subnet.id
                ),
            ));
        }
        let pool = Pool {
            region,
            market: request.spec.market,
            instance_type,
            subnet_id: &subnet.id,
            zone: &subnet.zone,
        };
        let capacity = self.faults.capacity_left(pool).unwrap_or(u32::MAX);
        if capacity < request.min_count {
            return Err(ApiError::insufficient_capacity(match request.spec.market {
                Market::Spot => {
                    "There is no Spot capacity available that matches your request.".to_owned()
                }
                Market::OnDemand => format!(
                    "We currently do not have sufficient {instance_type} capacity in the \
                     Availability Zone you requested ({}). Our system will be working on \
                     provisioning additional capacity.",
                    subnet.zone
                ),
            }));
        }
        Ok(request.max_count.min(addresses).min(capacity))
    }

    fn create(
        &mut self,
        region_name: &str,
        request: &LaunchRequest,
        resolved: Resolved,
        count: u32,
        now: UnixMillis,
    ) -> Vec<String> {
        let Resolved {
            image,
            subnet,
            groups,
        } = resolved;
        let spec = &request.spec;
        let pool = Pool {
            region: region_name,
            market: spec.market,
            instance_type: &spec.instance_type,
            subnet_id: &subnet.id,
            zone: &subnet.zone,
        };
        self.faults.use_capacity(pool, count);
        let Some(region) = self.regions.get_mut(region_name) else {
            return Vec::new();
        };
        let reservation_id = format!("r-0{:016x}", pseudo_random(self.seed, self.next_seq << 1));
        let running_at = now.after(self.settings.pending());
        let addresses = region.unused_addresses(&subnet, now);
        let mut ids = Vec::new();
        for (launch_index, private_ip) in (0..count).zip(addresses) {
            let seq = self.next_seq;
            self.next_seq += 1;
            let id = format!("i-0{:016x}", pseudo_random(self.seed, (seq << 1) | 1));
            let mut instance = Instance {
                id: id.clone(),
                seq,
                owner_id: self.account_id.clone(),
                reservation_id: reservation_id.clone(),
                launch_index,
                tags: request.tags.clone(),
                spec: spec.clone(),
                architecture: image.architecture.as_str(),
                subnet: subnet.clone(),
                groups: groups.clone(),
                private_ip,
                public_ip: public_address(seq),
                launched_at: now,
                ended: None,
                agent: None,
                faults: Vec::new(),
                interruption: None,
                transitions: vec![
                    Transition {
                        state: State::Pending,
                        at_ms: now,
                    },
                    Transition {
                        state: State::Running,
                        at_ms: running_at,
                    },
                ],
                published_transitions: 0,
                applied_faults: 0,
                untagged_at: None,
                archived_at: None,
            };
            let mut due = vec![now, running_at];
            let effects = self.faults.apply_to_instance(
                instance.pool(region_name),
                &id,
                AppliesFrom::Launch,
                now,
            );
            for effect in effects {
                due.push(instance.schedule_fault(effect, now));
            }
            region.insert(instance);
            let due = due.into_iter().map(|at| (at, region_name.to_owned(), seq));
            self.upcoming.extend(due);
            ids.push(id);
        }
        ids
    }
}

impl Region {
    /// The ids of the instances that were launched under this token; `None` if there are none.
    ///
    /// # Errors
    /// If the token is bound to other parameters, or to an instance that is terminated.
    fn launched_under(
        &self,
        key: &TokenKey,
        fingerprint: u64,
        now: UnixMillis,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(binding) = self.tokens.get(key) else {
            return Ok(None);
        };
        if binding.fingerprint != fingerprint {
            return Err(ApiError::client(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s)",
            ));
        }
        if binding.instance_ids.is_empty() {
            return Ok(None);
        }
        let is_terminated = |id: &String| {
            self.instance(id)
                .is_none_or(|instance| instance.state_at(now) == Some(State::Terminated))
        };
        if binding.instance_ids.iter().any(is_terminated) {
            return Err(ApiError::client(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with a terminated instance. \
                 Please use a different client token.",
            ));
        }
        Ok(Some(binding.instance_ids.clone()))
    }
}

fn public_address(seq: u64) -> Ipv4Addr {
    let offset = u32::try_from(seq % PUBLIC_ADDRESSES).unwrap_or(0);
    Ipv4Addr::from_bits(FIRST_PUBLIC.to_bits() + offset)
}

//! Building the exact launch request, which is recorded first and then sent.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::agent_token::{AgentTokens, TokenError};
use crate::host::tags;
use crate::ids::{ClientSha, ClientToken, ImageId, LaunchId, UniqueIds};
use crate::model::{Intent, LaunchRequest};
use crate::scaling::{Fleet, LaunchOption};
use crate::settings::RegionSettings;
use crate::user_data::{AgentAccess, UserData, UserDataError};

/// With one hop, the metadata service answers only the host and containers on the host's network.
/// With a second hop it would also answer containers behind a bridge: mostly users' sessions, which
/// must read neither the agent's token in the user data nor the profile's credentials. An agent
/// that runs in a container can share the host's network.
const IMDS_HOP_LIMIT: u8 = 1;

/// The settings of every launch of this stack.
pub struct LaunchSettings {
    pub stack_id: String,
    /// Hasura's URL for host agents, without `/v1/graphql`.
    pub agent_hasura_url: String,
    /// None in a stack of replicas only: they have no host agent.
    pub tokens: Option<AgentTokens>,
}

impl fmt::Debug for LaunchSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchSettings")
            .field("stack_id", &self.stack_id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub(super) enum LaunchRequestError {
    #[error(transparent)]
    UserData(#[from] UserDataError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("host agents need Hasura: set HASURA_URL and HASURA_JWT_KEY")]
    NoHasura,
}

/// Where one launch goes, with the ids that were looked up.
pub(super) struct Placement<'a> {
    pub(super) option: &'a LaunchOption,
    pub(super) subnet_id: String,
    pub(super) security_group_ids: Vec<String>,
}

impl LaunchSettings {
    /// The age from which an instance is replaced because its agent's token ends; without tokens,
    /// never.
    pub fn renew_after(&self) -> SignedDuration {
        let tokens = self.tokens.as_ref();
        tokens.map_or(SignedDuration::MAX, AgentTokens::renew_after)
    }

    /// An intent with new ids, and with everything that its request needs.
    pub(super) fn intent(
        &self,
        fleet: Fleet,
        settings: &RegionSettings,
        (image_id, client_sha): (&ImageId, &ClientSha),
        placement: Placement<'_>,
        ids: &dyn UniqueIds,
        now: Timestamp,
    ) -> Result<Intent, LaunchRequestError> {
        let launch_id = LaunchId::new(ids.unique());
        let LaunchOption { choice, count } = placement.option;
        let token = match fleet {
            Fleet::Replicas => None,
            Fleet::Instances => {
                let tokens = self.tokens.as_ref().ok_or(LaunchRequestError::NoHasura)?;
                Some(tokens.mint(&launch_id, now)?)
            }
        };
        let user_data = UserData {
            agent: token.as_deref().map(|token| AgentAccess {
                hasura_url: &self.agent_hasura_url,
                token,
            }),
            region: &settings.name,
            launch_id: &launch_id,
            capacity: choice.capacity,
            client_sha,
        }
        .render(settings.user_data_template.as_deref())?;
        let tag = |key: &str, value: &dyn fmt::Display| (key.to_owned(), value.to_string());
        let tags = vec![
            tag("Name", &format_args!("{}-{}", self.stack_id, settings.name)),
            tag(tags::STACK, &self.stack_id),
            tag(tags::REGION, &settings.name),
            tag(tags::LAUNCH, &launch_id),
            tag(tags::IMAGE, image_id),
            tag(tags::CLIENT_SHA, client_sha),
            tag(tags::CAPACITY, &choice.capacity),
        ];
        let request = LaunchRequest {
            image_id: image_id.clone(),
            client_sha: client_sha.clone(),
            spot: choice.spot,
            instance_type: choice.instance_type.clone(),
            subnet_id: placement.subnet_id,
            security_group_ids: placement.security_group_ids,
            instance_profile: settings.instance_profile.clone(),
            user_data: BASE64_STANDARD.encode(user_data),
            tags,
            count: *count,
            capacity: choice.capacity,
            imds_hop_limit: Some(IMDS_HOP_LIMIT),
        };
        Ok(Intent {
            launch_id,
            client_token: ClientToken::new(ids.unique()),
            created_at: now,
            request,
        })
    }
}

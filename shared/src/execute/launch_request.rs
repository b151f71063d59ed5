//! Building the exact launch request, which is recorded first and then sent.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::agent_token::{AgentTokens, TokenError};
use crate::host::tags;
use crate::ids::{ClientSha, ClientToken, ImageId, LaunchId, RandomIds, UniqueIds};
use crate::model::{Image, Intent, LaunchRequest};
use crate::scaling::{Fleet, LaunchOption, TokenPolicy, algorithm};
use crate::settings::{LaunchChoice, RegionSettings};
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
    #[error("table `regions`, column `user_data_template`: {0}")]
    UserData(#[from] UserDataError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("host agents need Hasura: set HASURA_URL and HASURA_JWT_KEY")]
    NoHasura,
}

/// The tokens of one launch.
pub(super) struct LaunchTokens {
    token: SecretString,
    /// Of the key that Hasura will have.
    next: Option<SecretString>,
}

impl LaunchTokens {
    pub(super) fn access<'a>(&'a self, hasura_url: &'a str) -> AgentAccess<'a> {
        AgentAccess {
            hasura_url,
            token: self.token.expose_secret(),
            next_token: self.next.as_ref().map(ExposeSecret::expose_secret),
        }
    }
}

/// Where one launch goes, with the ids that were looked up.
#[derive(Clone)]
pub(super) struct Placement<'a> {
    pub(super) option: &'a LaunchOption,
    pub(super) subnet_id: String,
    pub(super) security_group_ids: Vec<String>,
}

impl LaunchSettings {
    /// When agents' tokens are renewed; none in a stack of replicas only.
    pub fn token_policy(&self) -> Option<TokenPolicy> {
        self.tokens.as_ref().map(AgentTokens::policy)
    }

    /// The tokens in a launch's user data; none for replicas.
    ///
    /// # Errors
    /// Without a key, and when it cannot sign.
    pub(super) fn launch_tokens(
        &self,
        fleet: Fleet,
        launch: &LaunchId,
        now: Timestamp,
    ) -> Result<Option<LaunchTokens>, LaunchRequestError> {
        match (fleet, &self.tokens) {
            (Fleet::Replicas, _) => Ok(None),
            (Fleet::Instances, None) => Err(LaunchRequestError::NoHasura),
            (Fleet::Instances, Some(tokens)) => Ok(Some(LaunchTokens {
                token: tokens.mint(launch, now)?.token,
                next: tokens.mint_next(launch, now)?.map(|next| next.token),
            })),
        }
    }

    /// The request that a launch of one instance would send now, for a rehearsal. `place` is the
    /// subnet's id and those of the security groups.
    ///
    /// # Errors
    /// Why a launch could not make its request, as it would report it.
    pub(crate) fn rehearsal(
        &self,
        settings: &RegionSettings,
        image: &Image,
        choice: &LaunchChoice,
        (subnet_id, security_group_ids): (String, Vec<String>),
        now: Timestamp,
    ) -> Result<LaunchRequest, String> {
        let fleet = algorithm(&settings.algorithm).map_or(Fleet::Instances, |known| known.fleet());
        let option = LaunchOption {
            count: 1,
            choice: choice.clone(),
        };
        let placement = Placement {
            option: &option,
            subnet_id,
            security_group_ids,
        };
        let image = (&image.id, &image.client_sha);
        self.intent(fleet, settings, image, placement, &RandomIds, now)
            .map(|intent| intent.request)
            .map_err(|error| error.to_string())
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
        let tokens = self.launch_tokens(fleet, &launch_id, now)?;
        let user_data = UserData {
            agent: tokens.as_ref().map(|it| it.access(&self.agent_hasura_url)),
            region: &settings.name,
            launch_id: &launch_id,
            capacity: choice.capacity,
            client_sha,
        }
        .render(settings.user_data_template.as_deref())?;
        let tag = |key: &str, value: &dyn fmt::Display| (key.to_owned(), value.to_string());
        let tags = vec![
            tag(
                tags::NAME,
                &format_args!("{}-{}-{}", self.stack_id, settings.name, short(&launch_id)),
            ),
            tag(tags::STACK, &self.stack_id),
            tag(tags::REGION, &settings.name),
            tag(tags::LAUNCH, &launch_id),
            tag(tags::IMAGE, image_id),
            tag(tags::CLIENT_SHA, client_sha),
            tag(tags::CAPACITY, &choice.capacity),
            tag(tags::SUBNET, &placement.subnet_id),
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
            ebs_optimized: false,
        };
        Ok(Intent {
            launch_id,
            client_token: ClientToken::new(ids.unique()),
            created_at: now,
            request,
        })
    }
}

/// The beginning of a launch's id, which tells the instances of one region apart. Replicas of one
/// launch have the same tags, so a name cannot tell those apart.
fn short(launch: &LaunchId) -> String {
    launch.as_str().chars().take(8).collect()
}

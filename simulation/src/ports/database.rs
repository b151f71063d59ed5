//! Hasura, as a pass calls it.

use async_trait::async_trait;
use jiff::Timestamp;
use shared::agent_token::AgentToken;
use shared::db::{
    DbError, Fence, InstanceDatabase, KnownInstance, Observation, RegionDatabase, UpgradeRequested,
    WriteOutcome, WriteResult,
};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{
    DrainCause, ImageState, InstanceAddresses, NewInstance, Outlook, SpotNotice, TerminateIf,
};
use testing::Database;

use super::intercept::Intercepted;
use crate::effects::Effect;
use crate::yield_points::Port;

type Written = Result<Vec<WriteResult>, DbError>;

fn unavailable(operation: &'static str) -> DbError {
    DbError::Unavailable {
        operation,
        reason: "simulated".to_owned(),
    }
}

impl Intercepted<dyn Database> {
    async fn call_database<A: Send + 'static>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<A, DbError>> + Send + 'static,
    ) -> Result<A, DbError> {
        self.context
            .call(Port::Database, name, effect, || Err(unavailable(name)))
            .await
    }

    /// A write under a fence. It is recorded as an effect when the database accepted it.
    async fn write(
        &self,
        name: &'static str,
        fence: &Fence,
        effect: impl Future<Output = Written> + Send + 'static,
    ) -> Written {
        let (effects, process, fence) = (
            self.context.effects.clone(),
            self.context.process,
            fence.clone(),
        );
        self.call_database(name, async move {
            let answer = effect.await;
            if let Ok(results) = &answer {
                effects.add(
                    process,
                    Effect::DatabaseWrite {
                        call: name,
                        fence,
                        results: results.clone(),
                    },
                );
            }
            answer
        })
        .await
    }
}

#[async_trait]
impl RegionDatabase for Intercepted<dyn Database> {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let inner = self.inner.clone();
        self.call_database("regions", async move { inner.regions().await })
            .await
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let (inner, fence) = (self.inner.clone(), fence.clone());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        self.call_database("begin_pass", async move {
            let answer = inner.begin_pass(&fence).await;
            if let Ok(seen) = &answer {
                let waiting = seen.waiting;
                effects.add(process, Effect::PassBegan { fence, waiting });
            }
            answer
        })
        .await
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.call_database("observe", async move { inner.observe(&region).await })
            .await
    }
}

#[async_trait]
impl InstanceDatabase for Intercepted<dyn Database> {
    async fn record_instances(&self, fence: &Fence, instances: &[NewInstance]) -> Written {
        let (inner, under, rows) = (self.inner.clone(), fence.clone(), instances.to_vec());
        self.write("record_instances", fence, async move {
            inner.record_instances(&under, &rows).await
        })
        .await
    }

    async fn adopt_orphans(&self, fence: &Fence, orphans: &[NewInstance]) -> Written {
        let (inner, under, rows) = (self.inner.clone(), fence.clone(), orphans.to_vec());
        self.write("adopt_orphans", fence, async move {
            inner.adopt_orphans(&under, &rows).await
        })
        .await
    }

    async fn drain(&self, fence: &Fence, ids: &[InstanceId], cause: DrainCause) -> Written {
        let (inner, under, ids) = (self.inner.clone(), fence.clone(), ids.to_vec());
        self.write("drain", fence, async move {
            inner.drain(&under, &ids, cause).await
        })
        .await
    }

    async fn reopen(&self, fence: &Fence, ids: &[InstanceId]) -> Written {
        let (inner, under, ids) = (self.inner.clone(), fence.clone(), ids.to_vec());
        self.write(
            "reopen",
            fence,
            async move { inner.reopen(&under, &ids).await },
        )
        .await
    }

    async fn terminate(&self, fence: &Fence, ids: &[InstanceId], when: TerminateIf) -> Written {
        let (inner, under, ids) = (self.inner.clone(), fence.clone(), ids.to_vec());
        self.write("terminate", fence, async move {
            inner.terminate(&under, &ids, when).await
        })
        .await
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Written {
        let (inner, under, ids) = (self.inner.clone(), fence.clone(), ids.to_vec());
        self.write(
            "remove",
            fence,
            async move { inner.remove(&under, &ids).await },
        )
        .await
    }

    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Written {
        let (inner, under) = (self.inner.clone(), fence.clone());
        let (missing, present) = (missing.to_vec(), present.to_vec());
        self.write("note_missing", fence, async move {
            inner.note_missing(&under, &missing, &present).await
        })
        .await
    }

    async fn note_addresses(&self, fence: &Fence, addresses: &[InstanceAddresses]) -> Written {
        let (inner, under) = (self.inner.clone(), fence.clone());
        let addresses = addresses.to_vec();
        self.write("note_addresses", fence, async move {
            inner.note_addresses(&under, &addresses).await
        })
        .await
    }

    async fn note_forecast(&self, fence: &Fence, outlook: &Outlook) -> Written {
        let (inner, under, outlook) = (self.inner.clone(), fence.clone(), outlook.clone());
        self.write("note_forecast", fence, async move {
            inner.note_forecast(&under, &outlook).await
        })
        .await
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Written {
        let (inner, under) = (self.inner.clone(), fence.clone());
        self.write("release_unclaimed", fence, async move {
            inner.release_unclaimed(&under).await
        })
        .await
    }

    async fn mark_ends(&self, fence: &Fence) -> Written {
        let (inner, under) = (self.inner.clone(), fence.clone());
        self.write(
            "mark_ends",
            fence,
            async move { inner.mark_ends(&under).await },
        )
        .await
    }

    async fn renew_tokens(&self, fence: &Fence, tokens: &[(InstanceId, AgentToken)]) -> Written {
        let (inner, under, tokens) = (self.inner.clone(), fence.clone(), tokens.to_vec());
        self.write("renew_tokens", fence, async move {
            inner.renew_tokens(&under, &tokens).await
        })
        .await
    }

    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Written {
        let (inner, under) = (self.inner.clone(), fence.clone());
        let (image, reason) = (image.clone(), reason.to_owned());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        self.write("move_image", fence, async move {
            let answer = inner.move_image(&under, &image, states, &reason).await;
            let is_done = |row: &WriteResult| row.outcome == WriteOutcome::Done;
            if answer.as_ref().is_ok_and(|rows| rows.iter().any(is_done)) {
                let fence = under;
                let effect = Effect::ImageMoved {
                    fence,
                    image,
                    states,
                };
                effects.add(process, effect);
            }
            answer
        })
        .await
    }

    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        let (image, client_sha) = (image.clone(), client_sha.clone());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        self.call_database("request_upgrade", async move {
            let answer = inner.request_upgrade(&region, &image, &client_sha).await;
            if let Ok(outcome) = &answer {
                let outcome = *outcome;
                effects.add(process, Effect::UpgradeRequested { region, outcome });
            }
            answer
        })
        .await
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        let (inner, id) = (self.inner.clone(), id.clone());
        self.call_database(
            "find_instance",
            async move { inner.find_instance(&id).await },
        )
        .await
    }

    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError> {
        let (inner, id) = (self.inner.clone(), id.clone());
        self.call_database("record_spot_notice", async move {
            inner.record_spot_notice(&id, notice).await
        })
        .await
    }

    async fn note_running(
        &self,
        running: &[(InstanceId, Timestamp)],
    ) -> Result<Vec<WriteResult>, DbError> {
        let (inner, running) = (self.inner.clone(), running.to_vec());
        self.call_database(
            "note_running",
            async move { inner.note_running(&running).await },
        )
        .await
    }
}

//! `TerminateInstances`. If one id is unknown, no instance is terminated.

use super::call::{ApiResult, Call};
use super::ids::INSTANCE;
use crate::error::ApiError;
use crate::world::State;
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("InstanceId")?;
    // Both speed up a shutdown that hangs. Shutdowns never hang here.
    call.params.flag("Force")?;
    call.params.flag("SkipOsShutdown")?;
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("InstanceId"));
    }
    INSTANCE.check_form(&ids)?;
    call.finish()?;
    let states = call
        .world
        .terminate(call.region, &ids, call.now)
        .map_err(|unknown| INSTANCE.not_found(&unknown.0))?;
    let mut xml = Xml::default();
    xml.set(
        "instancesSet",
        ids.iter().zip(states),
        |xml, (id, (before, after))| {
            xml.text("instanceId", id);
            write_state(xml, "currentState", after);
            write_state(xml, "previousState", before);
        },
    );
    Ok(xml)
}

fn write_state(xml: &mut Xml, name: &str, state: State) {
    xml.element(name, |xml| {
        xml.text("code", state.code());
        xml.text("name", state.as_str());
    });
}

//! The EC2 emulator's ledger: every call, every instance, every state with its time.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Ledger {
    pub calls: Vec<Call>,
    pub instances: Vec<Machine>,
}

#[derive(Debug, Deserialize)]
pub struct Call {
    pub region: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    /// `ok`, or the error's code.
    pub outcome: String,
}

#[derive(Debug, Deserialize)]
pub struct Machine {
    pub id: String,
    pub region: String,
    pub state: Option<String>,
    pub client_token: Option<String>,
    pub image_id: String,
    pub instance_type: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub ebs_optimized: bool,
    pub shutdown_behavior: String,
    pub tags: BTreeMap<String, String>,
    pub user_data: Option<String>,
    pub ip: String,
    pub transitions: Vec<Transition>,
}

#[derive(Debug, Deserialize)]
pub struct Transition {
    pub state: String,
    pub at_ms: i64,
}

impl Ledger {
    /// # Panics
    /// When the emulator does not answer with a ledger.
    pub async fn read(control_url: &str) -> Self {
        let url = format!("{control_url}/ledger");
        let answer = reqwest::get(&url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        answer
            .json()
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn calls<'l>(&'l self, action: &'l str) -> impl Iterator<Item = &'l Call> {
        self.calls.iter().filter(move |call| call.action == action)
    }

    pub fn in_state<'l>(&'l self, state: &'l str) -> impl Iterator<Item = &'l Machine> {
        self.instances
            .iter()
            .filter(move |machine| machine.state.as_deref() == Some(state))
    }
}

impl Machine {
    pub fn states(&self) -> Vec<&str> {
        self.transitions
            .iter()
            .map(|transition| transition.state.as_str())
            .collect()
    }
}

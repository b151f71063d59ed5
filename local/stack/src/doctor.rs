//! `local-stack doctor`: asks the deployed `reconcile` whether the deployment is as it has to be.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use shared::doctor::{Report, Verdict};

use crate::env_file::StackEnv;
use crate::invoke::invoke;
use crate::ministack::sdk_config;
use crate::options::StackChoice;

/// What to examine, and how to show it
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    #[command(flatten)]
    stack: StackChoice,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Prints the report.
    ///
    /// # Errors
    /// When the stack does not run, or something is wrong with it.
    pub async fn examine(&self) -> Result<()> {
        let env = StackEnv::read(&self.stack.env_path())?;
        let sdk = sdk_config(&env.aws_endpoint_url);
        let answer = invoke(&sdk, &env.reconcile_function, &json!({"doctor": true})).await?;
        let report = report(answer)?;
        if self.json {
            println!("{:#}", json!(report));
        } else {
            println!("{report}");
        }
        ensure!(
            report.verdict != Verdict::Wrong,
            "the deployment is not as it has to be: see the report above"
        );
        Ok(())
    }
}

/// The report in an answer of `reconcile`.
///
/// # Errors
/// When there is none.
pub fn report(mut answer: Value) -> Result<Report> {
    serde_json::from_value(answer["doctor"].take()).context("read the report of `reconcile`")
}

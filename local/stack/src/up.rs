//! `local-stack up`: starts the stack, sets up one region, prints how to use it, and runs until
//! Ctrl-C.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use crate::fill::wait_for_free_slots;
use crate::options::{DEFAULT_NAME, StackOptions};
use crate::project::relative;
use crate::seed::{APP_VERSION, RegionSeed};
use crate::signals::run_until_signal;
use crate::stack::Stack;
use crate::steps::step;
use crate::token::Token;

/// How long the token in the printed example is valid: a day of trying things out.
const EXAMPLE_TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// The options of `local-stack up`.
#[derive(Args, Debug)]
pub struct UpOptions {
    #[command(flatten)]
    pub stack: StackOptions,
    #[command(flatten)]
    pub seed: RegionSeed,
}

/// Runs a stack until Ctrl-C.
///
/// # Errors
/// When a component cannot be started, or ends by itself.
pub async fn up(options: &UpOptions) -> Result<()> {
    run_until_signal(run(options)).await
}

async fn run(options: &UpOptions) -> Result<()> {
    let started = Instant::now();
    println!(
        "starting the local stack in {}",
        relative(&options.stack.stack.dir())
    );
    let stack = Stack::start(&options.stack).await?;
    let seed = &options.seed;
    let operator = stack.operator();
    let insert = seed.insert(&operator, options.stack.ec2.world.as_deref());
    step(format!("set up the region {}", seed.region), insert).await?;
    let payload = json!({"regions": [seed.region]});
    let first_pass = step(
        "run the first reconcile pass, which launches instances",
        stack.reconcile(&payload),
    );
    let report = first_pass.await?;
    let fill = async {
        let filled = wait_for_free_slots(&stack, seed).await;
        filled.with_context(|| format!("the first pass reported {report:#}"))
    };
    step(format!("wait for {} free slots", seed.target_free), fill).await?;
    println!("{:7.1} s  in total\n", started.elapsed().as_secs_f32());
    print_usage(&stack, options)?;
    bail!("{}", stack.failed().await)
}

/// Prints every address with its credentials, and commands to try.
fn print_usage(stack: &Stack, options: &UpOptions) -> Result<()> {
    let env = stack.env();
    let token = Token::new("alice")
        .expires_in(EXAMPLE_TOKEN_SECONDS)
        .sign(stack.keys())?;
    let request = json!({
        "regions": [options.seed.region],
        "client_commit_hash": "local_dev",
        "user_email": "alice@example.com",
        "version": APP_VERSION,
        "session_id": 1,
    });
    let choice = &options.stack.stack;
    let name = match choice.name.as_str() {
        DEFAULT_NAME => String::new(),
        name => format!(" --name {name}"),
    };
    let binary = std::env::current_exe().context("find the path of the running program")?;
    println!(
        "assign-user   {assign}
status page   {status}   (token: {status_token})
GraphQL       {hasura}/v1/graphql   (x-hasura-admin-secret: {secret})
PostgreSQL    {database}
local AWS     {aws}
EC2 emulator  {ec2}   (its calls and instances: {control}/ledger)
all of these, as shell variables: {env_path}

Request a slot, one user's place on an instance, for the user alice:

  curl -sS {assign}mandelbox/assign \\
    -H 'content-type: application/json' \\
    -H 'authorization: Bearer {token}' \\
    -d '{request}'

Print another user's token:      {binary} token{name} --user bob
Show the regions' status:        curl -sS -H 'authorization: Bearer {status_token}' {status}
Check the service's health:      curl -sS {status}healthz
Show what a pass would change:   {binary} invoke{name} reconcile '{{\"dry_run\":true}}'
Request a new image:             {binary} upgrade{name}
Swap the new image in:           {binary} app-version{name}   (once the status shows free slots on it)
Watch instances and slots:       watch -n1 \"psql -X -c 'TABLE instances' -c 'TABLE slots'\"
Watch database events:           watch -n1 \"curl -sS '{events}/deliveries?limit=20'\"
Follow all logs:                 tail -F {logs}/*.log {agents}/*.log

Ctrl-C stops everything and removes the stack's data.",
        assign = env.assign_user_url,
        status = env.status_url,
        status_token = env.status_token,
        hasura = env.hasura_url,
        secret = env.hasura_admin_secret,
        database = env.database_url,
        aws = env.aws_endpoint_url,
        ec2 = env.aws_endpoint_url_ec2,
        control = env.ec2_control_url,
        env_path = relative(&choice.env_path()),
        binary = relative(&binary),
        events = env.hasura_events_control_url.as_deref().unwrap_or("-"),
        logs = relative(&stack.dir().path().join("logs")),
        agents = relative(&stack.dir().path().join("ec2/agents")),
    );
    Ok(())
}

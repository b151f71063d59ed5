//! `local-stack up`: everything started, filled and explained, until Ctrl-C.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::StackOptions;
use crate::project;
use crate::seed::{APP_VERSION, RegionSeed};
use crate::stack::Stack;
use crate::steps::step;
use crate::token::Token;

/// Longer than any instance takes to boot with the emulator's own delays.
const FILL_TIME: Duration = Duration::from_secs(90);

/// Pause between two looks at the buffer.
const FILL_POLL: Duration = Duration::from_millis(200);

/// How long the token in the printed example is valid.
const EXAMPLE_SECONDS: i64 = 24 * 60 * 60;

#[derive(Args, Debug)]
pub struct UpOptions {
    #[command(flatten)]
    pub stack: StackOptions,
    #[command(flatten)]
    pub seed: RegionSeed,
}

/// Runs until it is told to stop.
///
/// # Errors
/// When a part cannot be started, or ends by itself.
pub async fn up(options: &UpOptions) -> Result<()> {
    until_stopped(run(options)).await
}

/// Runs until it is told to stop, and says so then.
pub(crate) async fn until_stopped(run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut running = Box::pin(run);
    tokio::select! {
        result = &mut running => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    println!("\nstopping");
    // Whatever was started by now ends here.
    drop(running);
    println!("stopped: nothing is left running");
    Ok(())
}

async fn run(options: &UpOptions) -> Result<()> {
    let started = Instant::now();
    println!(
        "starting the stack in {}",
        shown(&options.stack.stack.dir())
    );
    let stack = Stack::start(&options.stack).await?;
    let seed = &options.seed;
    let operator = stack.operator();
    let insert = seed.insert(&operator, options.stack.ec2.world.as_deref());
    step(format!("{} set up", seed.region), insert).await?;
    let payload = json!({"regions": [seed.region]});
    let report = step("first pass", stack.reconcile(&payload)).await?;
    let filled = async {
        let filled = filled(&stack, seed).await;
        filled.with_context(|| format!("the first pass reported {report:#}"))
    };
    step(format!("{} free slots", seed.target_free), filled).await?;
    println!("{:7.1} s  in all\n", started.elapsed().as_secs_f32());
    explain(&stack, options)?;
    bail!("{}", stack.failed().await)
}

pub(crate) async fn filled(stack: &Stack, seed: &RegionSeed) -> Result<()> {
    let operator = stack.operator();
    let target = usize::try_from(seed.target_free)?;
    let deadline = Instant::now() + FILL_TIME;
    loop {
        let free = operator.free_slots(&seed.region).await?;
        if free >= target {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{} has {free} free slots after {FILL_TIME:?}: see the logs in {}",
                seed.region,
                shown(&stack.dir().path().join("logs")),
            );
        }
        tokio::time::sleep(FILL_POLL).await;
    }
}

fn explain(stack: &Stack, options: &UpOptions) -> Result<()> {
    let env = stack.env();
    let token = Token::new("alice")
        .expires_in(EXAMPLE_SECONDS)
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
        crate::options::DEFAULT_NAME => String::new(),
        name => format!(" --name {name}"),
    };
    let binary = std::env::current_exe().context("find the running program")?;
    println!(
        "assign-user  {assign}
status page  {status}   (token: {status_token})
GraphQL      {hasura}/v1/graphql   (x-hasura-admin-secret: {secret})
PostgreSQL   {database}
local AWS    {aws}
EC2          {ec2}   (ledger: {control}/ledger)
all of them  {env_path}

Take a slot:

  curl -sS {assign}mandelbox/assign \\
    -H 'content-type: application/json' \\
    -H 'authorization: Bearer {token}' \\
    -d '{request}'

Another user's token:      {binary} token{name} --user bob
How it is, and why:        curl -sS -H 'authorization: Bearer {status_token}' {status}
Is it healthy:             curl -sS {status}healthz
What a pass would do:      {binary} invoke{name} reconcile '{{\"dry_run\":true}}'
Bring a new image:         {binary} upgrade{name}, and when it is warm: {binary} app-version{name}
Watch instances, slots:    watch -n1 \"psql -X '{database}' -c 'TABLE instances' -c 'TABLE slots'\"
Watch events delivered:    watch -n1 \"curl -sS '{events}/deliveries?limit=20'\"
Watch passes, EC2, agents: tail -F {logs}/*.log {agents}/*.log

Ctrl-C ends everything and removes its data.",
        assign = env.assign_user_url,
        status = env.status_url,
        status_token = env.status_token,
        hasura = env.hasura_url,
        secret = env.hasura_admin_secret,
        database = env.database_url,
        aws = env.aws_endpoint_url,
        ec2 = env.aws_endpoint_url_ec2,
        control = env.ec2_control_url,
        env_path = shown(&choice.env_path()),
        binary = shown(&binary),
        events = env.hasura_events_control_url.as_deref().unwrap_or("-"),
        logs = shown(&stack.dir().path().join("logs")),
        agents = shown(&stack.dir().path().join("ec2/agents")),
    );
    Ok(())
}

/// From the checkout's root, where people are.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(project::root())
        .unwrap_or(path)
        .display()
        .to_string()
}

//! `assign-user` as it is deployed: its size, its start, and its own work for a request.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::dir::StackDir;
use local_stack::keys::UserKeys;
use local_stack::process::{Process, Program};
use local_stack::project;
use local_stack::token::{AUDIENCE, ISSUER};
use scaling_bench::{Quantity, Row, Samples, Section};

use crate::fake_services::FakeServices;

const STARTS: usize = 30;
const WARM_UP: usize = 50;
const REQUESTS: usize = 1_000;

const ZIPPED_GOAL: u64 = 2_500_000;
const INIT_GOAL: Duration = Duration::from_millis(30);
const WORK_GOAL: Duration = Duration::from_millis(2);

const ZIP_TIME: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> Result<Section> {
    let dir = StackDir::claim(&project::local().join("bench"))?;
    let binary = project::root().join("target/release/assign-user");
    ensure!(
        binary.exists(),
        "{} is missing: run `make bench`",
        binary.display()
    );
    let keys = UserKeys::generate()?;
    let mut rows = sizes(&dir, &binary).await?;
    rows.push(starts(&dir, &binary, &keys)?);
    rows.extend(requests(&dir, &binary, &keys)?);
    Ok(Section {
        title: "assign-user, the release binary".to_owned(),
        method: "Stand-ins in this process play Lambda's runtime API, the key set and Hasura, so that no \
              database time is included. Own work is the time from an event to its response, \
              without the time in which Hasura has the request; it includes the check of an RS256 \
              signature. From its start means from fork to the first poll of the runtime API."
            .to_owned(),
        rows,
    })
}

async fn sizes(dir: &StackDir, binary: &Path) -> Result<Vec<Row>> {
    // The name of the binary in a deployment package.
    let bootstrap = dir.data("bootstrap");
    fs::copy(binary, &bootstrap).with_context(|| format!("copy {}", binary.display()))?;
    let zipped = dir.data("assign-user.zip");
    Program::new("zip", project::python_tool("python")?)
        .args(["-m", "zipfile", "-c"])
        .args([&zipped, &bootstrap])
        .run(dir, ZIP_TIME)
        .await?;
    let size = |path: &Path| Ok::<_, std::io::Error>(Quantity::Bytes(fs::metadata(path)?.len()));
    Ok(vec![
        Row::single("size, stripped", size(binary)?),
        Row::single("size, zipped", size(&zipped)?).at_most(Quantity::Bytes(ZIPPED_GOAL)),
    ])
}

fn starts(dir: &StackDir, binary: &Path, keys: &UserKeys) -> Result<Row> {
    let mut samples = Samples::default();
    for _ in 0..STARTS {
        let services = FakeServices::start(keys)?;
        let started = Instant::now();
        let _function = start(dir, binary, &services)?;
        samples.push(services.next_poll()? - started);
    }
    let row = Row::timed("from its start to its first poll", &samples);
    Ok(row.at_most(Quantity::Time(INIT_GOAL)))
}

fn requests(dir: &StackDir, binary: &Path, keys: &UserKeys) -> Result<Vec<Row>> {
    let services = FakeServices::start(keys)?;
    let function = start(dir, binary, &services)?;
    let first = services.invoke()?;
    for _ in 1..WARM_UP {
        services.invoke()?;
    }
    services.take_hasura_requests();
    let processor_before = processor_time(&function)?;
    let mut samples = Samples::default();
    for _ in 0..REQUESTS {
        samples.push(services.invoke()?);
    }
    let processor = (processor_time(&function)? - processor_before) / u32::try_from(REQUESTS)?;
    let graphql = services.take_hasura_requests().div_ceil(REQUESTS);
    let work = Row::timed("own work for a request, warm", &samples);
    let graphql = Row::single(
        "GraphQL requests for an assign",
        Quantity::Count(u64::try_from(graphql)?),
    );
    Ok(vec![
        Row::single("own work for the first request", Quantity::Time(first)),
        work.at_most(Quantity::Time(WORK_GOAL)),
        Row::single("- of it on the processor, mean", Quantity::Time(processor)).samples(REQUESTS),
        graphql.samples(REQUESTS).at_most(Quantity::Count(1)),
        Row::single("memory (resident), after all of them", resident(&function)?),
    ])
}

fn start(dir: &StackDir, binary: &Path, services: &FakeServices) -> Result<Process> {
    let url = format!("http://{}", services.address());
    Program::new("assign-user", binary)
        .env("AWS_LAMBDA_RUNTIME_API", services.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", "assign-user")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("ENVIRONMENT", "dev")
        .env("LOG_LEVEL", "info")
        .env("HASURA_URL", &url)
        .env("STACK_ID", "bench")
        .env("HASURA_TOKEN", "the function's")
        .env("JWKS_URL", format!("{url}/keys"))
        .env("JWT_ISSUER", ISSUER)
        .env("JWT_AUDIENCE", AUDIENCE)
        .start(dir)
}

/// The time that all threads of a process have spent on a processor.
pub(crate) fn processor_time(process: &Process) -> Result<Duration> {
    let tasks = format!("/proc/{}/task", process.pid());
    let mut nanos = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
        // "time running in ns, time waiting in ns, time slices"
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        let running = schedstat.split_whitespace().next().unwrap_or_default();
        nanos += running.parse::<u64>().context("read schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn resident(process: &Process) -> Result<Quantity> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
        .context("the process's status has no VmRSS line")?;
    Ok(Quantity::Bytes(kib.parse::<u64>()? * 1024))
}

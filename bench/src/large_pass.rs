//! A quiet pass over a large region by the release build of `reconcile`: what the pages of EC2 and
//! GraphQL take, and what the service adds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use local_stack::invoke::schedule;
use local_stack::ministack::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use local_stack::process::Program;
use local_stack::project;
use local_stack::stack::Stack;
use scaling_bench::{Quantity, Row, Samples, Section};
use scaling_tests::proxy::{self, Exchange, Proxy};
use scaling_tests::settings;
use tokio_postgres::Client;

use crate::assign_user::processor_time;
use crate::fleet;
use crate::quiet_pass::{self, DYNAMODB_GOAL, LARGE, PAGE};
use crate::runtime_api::RuntimeApi;

const INSTANCES: usize = 10_000;
const WARM_UP: usize = 2;
const PASSES: usize = 20;

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    // In a directory of its own: what is deployed is built without the option for a smaller build.
    let binary = project::root().join("target/bench/release/reconcile");
    ensure!(
        binary.exists(),
        "{} is missing: run `make bench`",
        binary.display()
    );
    // Another section may have left rows, whose machines were in another emulator.
    fleet::remove(sql, LARGE).await?;
    let (_emulator, ec2_url) = quiet_pass::emulator_without_agents(stack).await?;
    let function = &stack.env().reconcile_function;
    settings::set(stack, function, &[("AWS_ENDPOINT_URL_EC2", &ec2_url)]).await?;
    quiet_pass::fill_large(stack, sql, INSTANCES).await?;

    let env = stack.env();
    let proxies = Proxies {
        ec2: Proxy::start(&ec2_url, proxy::ec2_action)?,
        graphql: Proxy::start(&env.hasura_url, proxy::graphql_operation)?,
        dynamodb: Proxy::start(&env.aws_endpoint_url, proxy::dynamodb_action)?,
    };
    let lambda = RuntimeApi::start()?;
    let function = Program::new("reconcile", &binary);
    let process = settings::of(stack, &env.reconcile_function)
        .await?
        .into_iter()
        .fold(function, |function, (name, value)| {
            function.env(name, value)
        })
        .env("AWS_LAMBDA_RUNTIME_API", lambda.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", &env.reconcile_function)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .env("AWS_ENDPOINT_URL", &env.aws_endpoint_url)
        .env("AWS_ENDPOINT_URL_EC2", proxies.ec2.url())
        .env("AWS_ENDPOINT_URL_DYNAMODB", proxies.dynamodb.url())
        .env("HASURA_URL", proxies.graphql.url())
        .start(stack.dir())?;

    let event = schedule().to_string().into_bytes();
    let mut figures = Figures::default();
    for pass in 0..WARM_UP + PASSES {
        proxies.take();
        let processor_before = processor_time(&process)?;
        let began = Instant::now();
        let (ended, mut report) = lambda.invoke(&event)?;
        let report = report["regions"].take();
        ensure!(
            quiet_pass::is_quiet_alone(&report),
            "{LARGE} is not quiet, or not alone: {report:#}"
        );
        if pass >= WARM_UP {
            let processor = processor_time(&process)? - processor_before;
            figures.add(ended - began, processor, &proxies.take());
        }
    }
    fleet::remove(sql, LARGE).await?;
    Ok(Section {
        title: format!("a pass over {INSTANCES} instances"),
        method: "A quiet region's scheduled pass by the release build of `reconcile`, warm. This \
                 process plays Lambda's runtime API. Proxies take the time from each request to the \
                 end of its answer: that is the time of the emulator, of the GraphQL engine with \
                 PostgreSQL, and of the local AWS, which are dev builds. Pages of one listing are read in sequence, \
                 and the two listings at the same time. By itself means that no request was under \
                 way. The processor's time is that of all threads of the function, and includes the \
                 reading of answers while others are under way."
            .to_owned(),
        rows: figures.rows()?,
    })
}

struct Proxies {
    ec2: Proxy,
    graphql: Proxy,
    dynamodb: Proxy,
}

impl Proxies {
    fn take(&self) -> [Vec<Exchange>; 3] {
        [&self.ec2, &self.graphql, &self.dynamodb].map(Proxy::take_exchanges)
    }
}

#[derive(Default)]
struct Figures {
    passes: Samples,
    /// The service alone.
    own: Samples,
    processor: Samples,
    servers: [Server; 3],
}

/// What one server was asked for, and how long it took.
#[derive(Default)]
struct Server {
    requests: usize,
    bytes: usize,
    together: Samples,
    each: Samples,
}

impl Figures {
    fn add(&mut self, pass: Duration, processor: Duration, exchanges: &[Vec<Exchange>; 3]) {
        let all: Vec<_> = exchanges.iter().flatten().collect();
        self.own.push(pass.saturating_sub(union(&all)));
        self.passes.push(pass);
        self.processor.push(processor);
        for (server, exchanges) in self.servers.iter_mut().zip(exchanges) {
            server.requests = server.requests.max(exchanges.len());
            server.bytes = exchanges.iter().map(|exchange| exchange.bytes).sum();
            let took = |exchange: &Exchange| exchange.ended - exchange.began;
            server.together.push(exchanges.iter().map(took).sum());
            for exchange in exchanges {
                server.each.push(took(exchange));
            }
        }
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let pages = u64::try_from(INSTANCES.div_ceil(PAGE))?;
        // The last page of EC2 says that it is the last; a full one of GraphQL may be followed by an
        // empty one, and the regions are listed first.
        let goals = [pages, pages + 2, DYNAMODB_GOAL];
        let names = ["EC2", "GraphQL", "DynamoDB"];
        let mut rows = vec![Row::timed("the pass, from event to response", &self.passes)];
        for ((server, name), goal) in self.servers.iter().zip(names).zip(goals) {
            let requests = Quantity::Count(u64::try_from(server.requests)?);
            let bytes = Quantity::Bytes(u64::try_from(server.bytes)?);
            rows.extend([
                Row::single(format!("{name}: requests in sequence"), requests)
                    .samples(PASSES)
                    .at_most(Quantity::Count(goal)),
                Row::timed(format!("{name}: all of them"), &server.together),
                Row::timed(format!("{name}: one of them"), &server.each),
                Row::single(format!("{name}: size of the answers"), bytes),
            ]);
        }
        rows.extend([
            Row::timed("the function by itself", &self.own),
            Row::timed("the function's time on the processor", &self.processor),
        ]);
        Ok(rows)
    }
}

/// The time in which at least one of the exchanges was under way.
fn union(exchanges: &[&Exchange]) -> Duration {
    let mut sorted = exchanges.to_vec();
    sorted.sort_by_key(|exchange| exchange.began);
    let mut total = Duration::ZERO;
    let mut until = None;
    for exchange in sorted {
        let from = until.map_or(exchange.began, |until| exchange.began.max(until));
        total += exchange.ended.saturating_duration_since(from);
        until = until.max(Some(exchange.ended));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_exchanges_at_the_same_time_counts_once() {
        let start = Instant::now();
        let exchange = |from, to| Exchange {
            name: String::new(),
            began: start + Duration::from_millis(from),
            ended: start + Duration::from_millis(to),
            bytes: 0,
        };
        let all = [(0, 10), (2, 5), (8, 12), (20, 21)].map(|(from, to)| exchange(from, to));
        let all: Vec<_> = all.iter().collect();
        assert_eq!(union(&all), Duration::from_millis(13));
        assert_eq!(union(&[]), Duration::ZERO);
    }
}

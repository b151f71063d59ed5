//! The command line of the local stack: see `local-stack --help`.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use local_stack::demo::{DemoOptions, demo};
use local_stack::doctor::Doctor;
use local_stack::env_file::StackEnv;
use local_stack::invoke::invoke;
use local_stack::keys::{Algorithm, UserKeys};
use local_stack::ministack::sdk_config;
use local_stack::options::StackChoice;
use local_stack::token::Token;
use local_stack::tokens::MakeTokens;
use local_stack::up::{UpOptions, up};
use local_stack::upgrade::{AppVersion, ImageUpgrade, has_failed};

/// Runs the scaling service on this machine
#[derive(Parser)]
#[command(name = "local-stack")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the whole service and runs it until Ctrl-C
    Up(Box<UpOptions>),
    /// Simulates a day of users in a few minutes, to be watched on the status page
    Demo(DemoOptions),
    /// Prints a token with which a user can request a slot
    Token {
        #[command(flatten)]
        stack: StackChoice,
        /// The user's id: the "sub" claim of the token
        #[arg(long)]
        user: String,
        /// Seconds until the token expires; a negative number makes an expired token
        #[arg(long, default_value_t = 3600, allow_negative_numbers = true)]
        expires_in: i64,
        /// The algorithm that signs the token
        #[arg(long, value_enum, default_value_t)]
        algorithm: SigningAlgorithm,
    },
    /// Makes the functions' tokens for Hasura: reads the secret as JSON, prints it with new tokens
    Tokens(MakeTokens),
    /// Requests a new image for a region, as a deploy pipeline does
    Upgrade(ImageUpgrade),
    /// Publishes the client version that users should run, which swaps in a warm image of that client
    AppVersion(AppVersion),
    /// Says whether the running stack is as it has to be, and what to do if it is not
    Doctor(Doctor),
    /// Invokes a function of the running stack and prints its response
    Invoke {
        #[command(flatten)]
        stack: StackChoice,
        /// The function
        #[arg(value_enum)]
        function: Function,
        /// The event, as JSON
        // The parser is named because clap would otherwise turn any text into a JSON string.
        #[arg(default_value = "{}", value_parser = <serde_json::Value as FromStr>::from_str)]
        payload: serde_json::Value,
    },
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum SigningAlgorithm {
    #[default]
    Rs256,
    Es256,
}

#[derive(Clone, Copy, ValueEnum)]
enum Function {
    AssignUser,
    Reconcile,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(options) => up(&options).await,
        Command::Demo(options) => demo(&options).await,
        Command::Token {
            stack,
            user,
            expires_in,
            algorithm,
        } => {
            let algorithm = match algorithm {
                SigningAlgorithm::Rs256 => Algorithm::Rs256,
                SigningAlgorithm::Es256 => Algorithm::Es256,
            };
            let keys = UserKeys::load_or_generate(&stack.dir().join("keys"))?;
            let token = Token::new(&user)
                .expires_in(expires_in)
                .algorithm(algorithm);
            println!("{}", token.sign(&keys)?);
            Ok(())
        }
        Command::Tokens(tokens) => tokens.run(),
        Command::Upgrade(upgrade) => {
            let response = upgrade.request().await?;
            println!("{response:#}");
            ensure!(
                !has_failed(&response),
                "the image upgrade was rejected: see the response above"
            );
            Ok(())
        }
        Command::AppVersion(version) => version.publish().await,
        Command::Doctor(doctor) => doctor.examine().await,
        Command::Invoke {
            stack,
            function,
            payload,
        } => {
            let env = StackEnv::read(&stack.env_path())?;
            let name = match function {
                Function::AssignUser => &env.assign_user_function,
                Function::Reconcile => &env.reconcile_function,
            };
            let response = invoke(&sdk_config(&env.aws_endpoint_url), name, &payload).await?;
            println!("{response:#}");
            Ok(())
        }
    }
}

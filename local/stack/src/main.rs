//! The command line of the local stack: see `local-stack --help`.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use local_stack::demo::{DemoOptions, demo};
use local_stack::env_file::StackEnv;
use local_stack::invoke::invoke;
use local_stack::keys::{Algorithm, UserKeys};
use local_stack::ministack::sdk_config;
use local_stack::options::StackChoice;
use local_stack::token::Token;
use local_stack::up::{UpOptions, up};
use local_stack::upgrade::{AppVersion, ImageUpgrade, was_refused};

/// Runs the scaling service on this machine
#[derive(Parser)]
#[command(name = "local-stack")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything and stays until Ctrl-C
    Up(Box<UpOptions>),
    /// Plays a day of users in some minutes, to be watched on the status page
    Demo(DemoOptions),
    /// Prints a token with which a user may ask for a slot
    Token {
        #[command(flatten)]
        stack: StackChoice,
        /// The user's id, the token's "sub"
        #[arg(long)]
        user: String,
        /// In so many seconds; less than zero makes an expired token
        #[arg(long, default_value_t = 3600, allow_negative_numbers = true)]
        expires_in: i64,
        #[arg(long, value_enum, default_value_t)]
        algorithm: SignedWith,
    },
    /// Asks for a new image in a region, as a deploy pipeline does
    Upgrade(ImageUpgrade),
    /// Says which client users should run; a warm image of that client is swapped in
    AppVersion(AppVersion),
    /// Invokes a function of the running stack and prints its answer
    Invoke {
        #[command(flatten)]
        stack: StackChoice,
        #[arg(value_enum)]
        function: Function,
        /// The event, as JSON
        // Named, because clap would rather make a JSON string of any text.
        #[arg(default_value = "{}", value_parser = <serde_json::Value as FromStr>::from_str)]
        payload: serde_json::Value,
    },
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum SignedWith {
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
                SignedWith::Rs256 => Algorithm::Rs256,
                SignedWith::Es256 => Algorithm::Es256,
            };
            let keys = UserKeys::load_or_generate(&stack.dir().join("keys"))?;
            let token = Token::new(&user)
                .expires_in(expires_in)
                .algorithm(algorithm);
            println!("{}", token.sign(&keys)?);
            Ok(())
        }
        Command::Upgrade(upgrade) => {
            let answer = upgrade.ask().await?;
            println!("{answer:#}");
            ensure!(
                !was_refused(&answer),
                "the upgrade was not asked for: see above"
            );
            Ok(())
        }
        Command::AppVersion(version) => version.publish().await,
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
            let answer = invoke(&sdk_config(&env.aws_endpoint_url), name, &payload).await?;
            println!("{answer:#}");
            Ok(())
        }
    }
}

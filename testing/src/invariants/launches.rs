//! One launch for each intent, wherever a function dies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::MachineHistory;

/// One request to EC2 to launch machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRequest<P = BTreeMap<String, String>> {
    pub token: String,
    /// The launch in the tag of the requested machines.
    pub launch: String,
    pub count: usize,
    /// All parameters of the request.
    pub parameters: P,
}

/// Every request under one token is the same, every launch has one token, and EC2 launched no more
/// machines under a token than were requested, all of them at once.
pub fn violations<P: PartialEq + Debug>(
    requests: &[LaunchRequest<P>],
    machines: &[MachineHistory],
) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_token: BTreeMap<&str, &LaunchRequest<P>> = BTreeMap::new();
    let mut tokens: BTreeMap<&str, &str> = BTreeMap::new();
    for request in requests {
        let token = request.token.as_str();
        let first = by_token.entry(token).or_insert(request);
        if *first != request {
            found.push(format!(
                "the token {token} was used for {first:?} and {request:?}"
            ));
        }
        let launch = request.launch.as_str();
        if *tokens.entry(launch).or_insert(token) != token {
            found.push(format!(
                "the launch {launch} was requested under two tokens"
            ));
        }
    }
    let mut launched: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for machine in machines {
        let token = machine.token.as_str();
        let Some(request) = by_token.get(token) else {
            found.push(format!(
                "{} was launched under {token:?}, which no request used",
                machine.id
            ));
            continue;
        };
        if machine.launch != request.launch {
            found.push(format!("{} has the tag of another launch", machine.id));
        }
        let (count, reservations) = launched.entry(token).or_default();
        *count += 1;
        reservations.insert(&machine.reservation);
    }
    for (token, (count, reservations)) in launched {
        let most = by_token[token].count;
        if count > most || reservations.len() > 1 {
            found.push(format!(
                "{count} of {most} machines were launched under {token}, in {} launches",
                reservations.len()
            ));
        }
    }
    found
}

/// Every requested launch was recorded as an intent, which is closed.
pub fn unclosed(requests: &[LaunchRequest], closed: &BTreeSet<String>) -> Vec<String> {
    let launches: BTreeSet<_> = requests.iter().map(|request| &request.launch).collect();
    launches
        .into_iter()
        .filter(|launch| !closed.contains(*launch))
        .map(|launch| format!("the launch {launch} was requested, but its intent was not closed"))
        .collect()
}

/// Every closed intent was requested.
pub fn unrequested(requests: &[LaunchRequest], closed: &BTreeSet<String>) -> Vec<String> {
    let launches: BTreeSet<_> = requests.iter().map(|request| &request.launch).collect();
    closed
        .iter()
        .filter(|launch| !launches.contains(launch))
        .map(|launch| format!("the intent of {launch} was closed without a request"))
        .collect()
}

/// Every machine has had a row.
pub fn without_row(machines: &[MachineHistory], known: &BTreeSet<&str>) -> Vec<String> {
    let unknown = machines
        .iter()
        .filter(|machine| !known.contains(machine.id.as_str()));
    unknown
        .map(|machine| format!("{} never had a row", machine.id))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples::machine;
    use super::*;

    fn request(token: &str, count: usize) -> LaunchRequest {
        LaunchRequest {
            token: token.to_owned(),
            launch: format!("launch-{token}"),
            count,
            parameters: BTreeMap::from([("MaxCount".to_owned(), count.to_string())]),
        }
    }

    #[test]
    fn launch_requested_twice_under_its_token_is_accepted() {
        let requests = [request("t", 2), request("t", 2)];
        let machines = [machine("i-1", "t", 1_000), machine("i-2", "t", 1_000)];
        assert_eq!(violations(&requests, &machines), [""; 0]);
    }

    #[test]
    fn second_launch_under_a_token_is_found() {
        let requests = [request("t", 2)];
        let three = ["i-1", "i-2", "i-3"].map(|id| machine(id, "t", 1_000));
        assert_eq!(violations(&requests, &three).len(), 1);
        let mut again = machine("i-2", "t", 2_000);
        again.reservation = "another".to_owned();
        let two = [machine("i-1", "t", 1_000), again];
        assert_eq!(violations(&requests, &two).len(), 1);
    }

    #[test]
    fn other_request_or_launch_under_a_token_is_found() {
        let requests = [request("t", 2), request("t", 3)];
        assert_eq!(violations(&requests, &[]).len(), 1);
        let mut other = request("u", 2);
        other.launch = "launch-t".to_owned();
        assert_eq!(violations(&[request("t", 2), other], &[]).len(), 1);
    }

    #[test]
    fn machine_without_a_request_or_with_another_tag_is_found() {
        let none: [LaunchRequest; 0] = [];
        assert_eq!(violations(&none, &[machine("i-1", "t", 1_000)]).len(), 1);
        let mut other = machine("i-1", "t", 1_000);
        other.launch = "launch-u".to_owned();
        assert_eq!(violations(&[request("t", 1)], &[other]).len(), 1);
    }

    #[test]
    fn requests_and_closed_intents_that_do_not_match_are_found() {
        let closed = BTreeSet::from(["launch-t".to_owned()]);
        let requests = [request("u", 1)];
        assert_eq!(unclosed(&requests, &closed).len(), 1);
        assert_eq!(unrequested(&requests, &closed).len(), 1);
        let requests = [request("t", 1)];
        assert_eq!(unclosed(&requests, &closed), [""; 0]);
        assert_eq!(unrequested(&requests, &closed), [""; 0]);
    }

    #[test]
    fn machine_without_a_row_is_found() {
        let machines = [machine("i-1", "t", 1_000)];
        assert_eq!(without_row(&machines, &BTreeSet::new()).len(), 1);
        assert_eq!(without_row(&machines, &BTreeSet::from(["i-1"])), [""; 0]);
    }
}

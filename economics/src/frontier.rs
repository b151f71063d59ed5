//! Policies at several parameters on several workloads: what each costs, and who waits.
//!
//! Not all parameters are played. More users wait the less is kept free, so that a search finds the
//! least parameter that reaches the goal in a few runs, and those are most dense where it matters.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::clairvoyant::{Foresight, foresee};
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::run::{Conditions, RunError, run};
use crate::workload::Workload;

/// One run.
#[derive(Clone, Debug)]
pub struct Point {
    pub parameter: u32,
    pub outcome: Outcome,
}

/// All runs of a policy on a workload, by parameter.
#[derive(Clone, Debug)]
pub struct Frontier {
    pub policy: &'static Policy,
    pub points: Vec<Point>,
}

/// A workload with everything that was played on it.
#[derive(Debug)]
pub struct Results {
    pub workload: String,
    pub foresight: Foresight,
    pub frontiers: Vec<Frontier>,
}

/// What is searched for.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The share of users who may not be served at once.
    pub not_at_once: f64,
}

impl Goal {
    pub fn is_reached(&self, outcome: &Outcome) -> bool {
        outcome.share_not_at_once() <= self.not_at_once
    }
}

impl Frontier {
    /// The run with the least parameter that reaches the goal.
    pub fn best(&self, goal: &Goal) -> Option<&Point> {
        self.points
            .iter()
            .find(|point| goal.is_reached(&point.outcome))
    }

    pub fn at(&self, parameter: u32) -> Option<&Point> {
        self.points
            .iter()
            .find(|point| point.parameter == parameter)
    }
}

/// The least parameter with which the policy reaches the goal on each of the workloads.
pub fn one_for_all(results: &[Results], policy: &Policy, goal: &Goal) -> Option<u32> {
    let mut most = None;
    for result in results {
        let mut frontiers = result.frontiers.iter();
        let frontier = frontiers.find(|frontier| frontier.policy.name == policy.name)?;
        most = most.max(Some(frontier.best(goal)?.parameter));
    }
    most
}

/// Runs are played on as many threads as there are processors.
pub struct Player<'a> {
    pub policies: Vec<&'static Policy>,
    pub goal: Goal,
    /// Plays this parameter only, and searches nothing.
    pub parameter: Option<u32>,
    /// Searches nothing for a policy that is set to the goal itself.
    pub goals_only: bool,
    pub conditions: Conditions,
    /// Is told of each run.
    pub progress: &'a (dyn Fn(&Workload, &Policy, &Point) + Sync),
}

impl fmt::Debug for Player<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Player")
            .field("policies", &self.policies)
            .field("goal", &self.goal)
            .finish_non_exhaustive()
    }
}

impl Player<'_> {
    /// Plays each policy on each workload: those parameters that lead to the least one that reaches
    /// the goal, and that of the workload that needs the most.
    ///
    /// # Errors
    /// When a run fails.
    pub fn play(&self, workloads: &[Workload]) -> Result<Vec<Results>, RunError> {
        let pairs = workloads.iter().flat_map(|workload| {
            let policies = self.policies.iter();
            policies.map(move |policy| (workload, *policy))
        });
        let searched = at_once(pairs.collect(), |(workload, policy)| {
            self.search(workload, policy)
        })?;
        let mut searched = searched.into_iter();
        let mut results: Vec<_> = workloads
            .iter()
            .map(|workload| Results {
                workload: workload.name.clone(),
                foresight: foresee(workload),
                frontiers: searched.by_ref().take(self.policies.len()).collect(),
            })
            .collect();
        self.play_one_for_all(workloads, &mut results)?;
        Ok(results)
    }

    /// By bisection among the policy's parameters.
    fn search(&self, workload: &Workload, policy: &'static Policy) -> Result<Frontier, RunError> {
        let mut points = vec![];
        // What an operator who has this goal would set, whether it reaches the goal or not.
        let own = self.parameter.or((policy.of_goal)(&self.goal));
        if let Some(own) = own {
            points.push(self.point(workload, policy, own)?);
        }
        if self.parameter.is_some() || (own.is_some() && self.goals_only) {
            return Ok(Frontier { policy, points });
        }
        let (mut low, mut high) = (0, policy.parameters.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let parameter = policy.parameters[middle];
            let played = points.iter().position(|point| point.parameter == parameter);
            let nth = match played {
                Some(nth) => nth,
                None => {
                    points.push(self.point(workload, policy, parameter)?);
                    points.len() - 1
                }
            };
            if self.goal.is_reached(&points[nth].outcome) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        points.sort_by_key(|point| point.parameter);
        Ok(Frontier { policy, points })
    }

    fn play_one_for_all(
        &self,
        workloads: &[Workload],
        results: &mut [Results],
    ) -> Result<(), RunError> {
        for (nth, policy) in self.policies.iter().enumerate() {
            let Some(parameter) = one_for_all(results, policy, &self.goal) else {
                continue;
            };
            let missing = workloads.iter().zip(&*results).enumerate();
            let missing = missing
                .filter(|(_, (_, result))| result.frontiers[nth].at(parameter).is_none())
                .map(|(index, (workload, _))| (index, workload));
            let played = at_once(missing.collect(), |(index, workload)| {
                Ok((index, self.point(workload, policy, parameter)?))
            })?;
            for (index, point) in played {
                let points = &mut results[index].frontiers[nth].points;
                points.push(point);
                points.sort_by_key(|point| point.parameter);
            }
        }
        Ok(())
    }

    fn point(
        &self,
        workload: &Workload,
        policy: &Policy,
        parameter: u32,
    ) -> Result<Point, RunError> {
        let mut outcome = run(workload, policy, parameter, &self.conditions)?;
        // Weeks of sessions, of which a table says nothing.
        outcome.served = vec![];
        let point = Point { parameter, outcome };
        (self.progress)(workload, policy, &point);
        Ok(point)
    }
}

/// Does all jobs, some at a time, and returns the results in the order of the jobs.
fn at_once<J: Send, T: Send>(
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<T, RunError> + Sync,
) -> Result<Vec<T>, RunError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Mutex<Vec<(usize, Result<T, RunError>)>> = Mutex::default();
    let jobs = Mutex::new(jobs.into_iter().enumerate());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((index, job)) = job else { return };
                    let result = work(job);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

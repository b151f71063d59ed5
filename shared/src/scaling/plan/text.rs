//! Plans as text: for logs, and for the golden plans of the tests.

use std::fmt;

use super::{
    Action, AddressReport, Counts, ImageCounts, LaunchOption, Note, Plan, ReplicaView, Step,
};
use crate::model::ImageState;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResumeLaunch { launch } => write!(f, "resume launch {launch}"),
            Self::NoteMissing { instance } => write!(f, "note {instance} as missing"),
            Self::NotePresent { instance } => write!(f, "note {instance} as listed again"),
            Self::NoteAddresses { addresses } => write!(f, "note addresses of {}", addresses.id),
            Self::Terminate { instance, .. } => write!(f, "terminate {instance}"),
            Self::TerminateOrphan { orphan } => write!(f, "terminate orphan {}", orphan.id),
            Self::Remove { instance } => write!(f, "remove the row of {instance}"),
            Self::ReleaseUnclaimed { slots } => write!(f, "release {slots} unclaimed"),
            Self::MarkEnds { sessions } => {
                write!(f, "tell agents of {sessions} ends")
            }
            Self::Launch { image, options, .. } => {
                write!(f, "launch from {image}: ")?;
                for (place, LaunchOption { choice, count }) in options.iter().enumerate() {
                    let or = if place == 0 { "" } else { ", or " };
                    write!(f, "{or}{count} x {choice}")?;
                }
                Ok(())
            }
            Self::Drain { instance, .. } => write!(f, "drain {instance}"),
            Self::Reopen { instance } => write!(f, "take back the drain of {instance}"),
            Self::RenewToken { instance, .. } => write!(f, "renew the token of {instance}"),
            Self::RestPool { refusal } => {
                write!(f, "rest {} until {}", refusal.pool, refusal.until)
            }
            Self::ForgetRest { refusal } => write!(f, "use {} again", refusal.pool),
            Self::DeleteReplica { instance } => write!(f, "delete replica {instance}"),
            Self::MoveAddress { ip, to, from, .. } => match from {
                Some(from) => write!(f, "move address {ip} from {from} to {to}"),
                None => write!(f, "give address {ip} to {to}"),
            },
            Self::RememberUnknown { since } => {
                write!(f, "remember {} unknown replicas", since.len())
            }
            Self::MoveImage { image, from, to } => write!(f, "move {image} from {from} to {to}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.reason)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{instance}: {}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

impl fmt::Display for AddressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("address")?;
        for ip in &self.carries {
            write!(f, " {ip}")?;
        }
        write!(f, ": {}", self.decided)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            target,
            free,
            starting,
            waiting,
            occupied,
            live,
            max,
        } = self.counts;
        writeln!(
            f,
            "target {target}, free {free}, starting {starting}, waiting {waiting}, \
             occupied {occupied}, live {live} of {max}"
        )?;
        for image in self
            .images
            .iter()
            .filter(|image| image.state != ImageState::Current)
        {
            let ImageCounts {
                image,
                state,
                demand,
                free,
                starting,
                ..
            } = image;
            writeln!(
                f,
                "{image} {state}: demand {demand}, free {free}, starting {starting}"
            )?;
        }
        for replica in &self.replicas {
            let ReplicaView {
                instance,
                status,
                decided,
                address,
            } = replica;
            write!(f, "{instance} {status}: {decided}")?;
            if let Some(address) = address {
                write!(f, "; {address}")?;
            }
            writeln!(f)?;
        }
        for step in &self.steps {
            writeln!(f, "- {step}")?;
        }
        for note in &self.notes {
            writeln!(f, "{} {note}", if note.alert { "!" } else { "·" })?;
        }
        Ok(())
    }
}

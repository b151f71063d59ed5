//! Instances that their own agents take out of service.

use shared::model::{DrainCause, ImageState, Instance};
use shared::scaling::{Action, Reason, algorithm};
use testing::{NOW, image, instance, snapshot};

use crate::support::{assert_plan, draining, violations};

fn leaving(id: &str) -> Instance {
    Instance {
        drain_cause: Some(DrainCause::Agent),
        leave_reason: Some("the GPU is gone".to_owned()),
        ..draining(id, 30)
    }
}

fn held(id: &str) -> Instance {
    Instance {
        leave_reason: Some("the GPU is gone".to_owned()),
        ..instance(id)
    }
}

#[test]
fn instance_that_leaves_is_alerted_with_its_reason_and_replaced() {
    let snapshot = snapshot([instance("i-1"), leaving("i-2")]);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 2 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        ! i-2: its agent took it out of service: the GPU is gone; 0 users on it",
    );
}

#[test]
fn instances_that_are_held_serve_on_and_make_one_alert() {
    let snapshot = snapshot([held("i-1"), held("i-2")]);
    let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
    assert_eq!(violations(&snapshot, &plan, NOW), []);
    assert_eq!((plan.counts.free, plan.steps.len()), (4, 0));
    let alerts: Vec<_> = plan.notes.iter().filter(|note| note.alert).collect();
    let [alert] = alerts[..] else {
        panic!("{alerts:?}");
    };
    assert_eq!(alert.instance, None);
    let says = "the GPU is gone".to_owned();
    let instances = 2;
    assert_eq!(alert.reason, Reason::LeavesHeld { instances, says });
}

#[test]
fn warming_image_whose_instances_leave_fails() {
    let new = Instance {
        image_id: "ami-2".into(),
        ..leaving("i-3")
    };
    let mut snapshot = snapshot([instance("i-1"), instance("i-2"), new]);
    snapshot.images.push(image("ami-2", ImageState::Warming));
    let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
    let fails = plan.steps.iter().any(|step| {
        matches!(&step.action, Action::MoveImage { image, to: ImageState::Failed, .. }
            if image.as_str() == "ami-2")
    });
    assert!(fails, "{plan}");
}

//! A DynamoDB table like the service's, in a local AWS of its own.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use dynamodb_adapter::DynamoStore;
use local_stack::dir::StackDir;
use local_stack::ministack::Ministack;
use local_stack::ports::Ports;

const NAME: &str = "scaling";

/// The table of one test. The local AWS behind it ends with it.
pub struct Table {
    pub store: Arc<DynamoStore>,
    pub client: Client,
    _aws: Ministack,
    _dir: StackDir,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Table {
    type Target = Arc<DynamoStore>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl Table {
    /// Starts a local AWS and creates the table.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StackDir::claim(folder.path()).expect("a stack's folder");
        let port = Ports::free().reserve("the local AWS").expect("a port");
        let aws = Ministack::start(&dir, port, None)
            .await
            .expect("the local AWS");
        let client = Client::new(&aws.sdk_config());
        create(&client).await;
        Self {
            store: Arc::new(DynamoStore::new(client.clone(), NAME)),
            client,
            _aws: aws,
            _dir: dir,
            _folder: folder,
        }
    }

    /// Creates the table anew, without items.
    pub async fn empty(&self) {
        let deleted = self.client.delete_table().table_name(NAME).send().await;
        deleted.expect("the table is deleted");
        create(&self.client).await;
    }

    /// Every item in the table.
    pub async fn items(&self) -> Vec<Item> {
        let pages = self.client.scan().table_name(NAME).consistent_read(true);
        let items = pages.into_paginator().items().send();
        let items: Result<_, _> = items.collect().await;
        items.expect("the table is read")
    }
}

/// An item's attributes.
pub type Item = std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

async fn create(client: &Client) {
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("a key")
    };
    let text = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("an attribute")
    };
    client
        .create_table()
        .table_name(NAME)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(text("pk"))
        .attribute_definitions(text("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .send()
        .await
        .expect("the table is created");
}

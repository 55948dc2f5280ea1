"""The same notes with Django, Ninja, Channels, Strawberry and Celery, in one file."""

import os
from datetime import timedelta
from typing import Annotated

import django
from asgiref.sync import async_to_sync
from celery import Celery
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import models, transaction
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone
from pydantic import Field, TypeAdapter, ValidationError

REDIS_URL = os.environ["REDIS_URL"]

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1", "testserver"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    CHANNEL_LAYERS={"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}},
    USE_TZ=True,
)
django.setup()
asgi = get_asgi_application()

import strawberry  # noqa: E402  (Django's own modules can be imported once it is set up)
from ninja import NinjaAPI, Query, Schema, Status  # noqa: E402
from strawberry.django.views import GraphQLView  # noqa: E402


class Note(models.Model):
    text = models.CharField(max_length=200)
    words = models.IntegerField(null=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "notes"


class NoteIn(Schema):
    text: str = Field(min_length=1, max_length=200)


class NoteOut(Schema):
    id: int
    text: str
    words: int | None


# What both REST and GraphQL do.


def save_note(text: str) -> Note:
    with transaction.atomic():
        note = Note.objects.create(text=text)
        transaction.on_commit(lambda: count_words.delay(note.id))
    return note


def latest_notes(limit: int) -> list[Note]:
    return list(Note.objects.order_by("-id")[:limit])


# REST

api = NinjaAPI()


@api.post("/notes", response={201: NoteOut})
def add_note(request: HttpRequest, note: NoteIn):
    return Status(201, save_note(note.text))


@api.get("/notes", response=list[NoteOut])
def notes(request: HttpRequest, limit: Annotated[int, Query(ge=1, le=100)] = 20):
    return latest_notes(limit)


# Websockets


class Live(AsyncWebsocketConsumer):
    groups = ["counted"]

    async def counted(self, event: dict) -> None:
        await self.send(event["note"])


# GraphQL


@strawberry.type
class NoteType:
    id: int
    text: str
    words: int | None

    @classmethod
    def of(cls, note: Note) -> "NoteType":
        return cls(id=note.id, text=note.text, words=note.words)


LIMIT = TypeAdapter(Annotated[int, Field(ge=1, le=100)])


@strawberry.type
class Queries:
    @strawberry.field
    def notes(self, limit: int = 20) -> list[NoteType]:
        try:
            LIMIT.validate_python(limit)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        return [NoteType.of(note) for note in latest_notes(limit)]


@strawberry.type
class Mutations:
    @strawberry.mutation
    def add_note(self, text: str) -> NoteType:
        try:
            note = NoteIn(text=text)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        return NoteType.of(save_note(note.text))


# The worker: celery --app app:celery worker --beat

celery = Celery("notes", broker=REDIS_URL)
celery.conf.beat_schedule_filename = os.environ["DATABASE"] + ".beat"
celery.conf.beat_schedule = {"drop-old-notes": {"task": "app.drop_old_notes", "schedule": 60.0}}


@celery.task(autoretry_for=(Exception,), max_retries=2, retry_backoff=True, time_limit=15)
def count_words(id: int) -> None:
    note = Note.objects.get(id=id)
    note.words = len(note.text.split())
    note.save()
    text = NoteOut.from_orm(note).model_dump_json()
    async_to_sync(get_channel_layer().group_send)("counted", {"type": "counted", "note": text})


@celery.task(time_limit=15)
def drop_old_notes() -> None:
    Note.objects.filter(at__lt=timezone.now() - timedelta(days=30)).delete()


urlpatterns = [path("", api.urls), path("graphql", GraphQLView.as_view(schema=strawberry.Schema(Queries, Mutations)))]
app = ProtocolTypeRouter({"http": asgi, "websocket": URLRouter([path("live", Live.as_asgi())])})

"""The home page: the latest articles."""

from pathlib import Path

from database import Session
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from benchmarks.peers.conduit_by_hand.graph import latest_posts

TEMPLATES = Path(__file__).parents[3] / "examples" / "conduit" / "templates"
templates = Jinja2Templates(TEMPLATES)
router = APIRouter()


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def home(request: Request, session: Session) -> HTMLResponse:
    return templates.TemplateResponse(request, "home.j2", {"model": await latest_posts(session, 20)})
